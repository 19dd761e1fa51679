-- Spreads ChatChit's tables over the nodes of a Citus cluster. Once, on the coordinator, while no
-- worker of ChatChit runs, after its migrations. README.md beside this file says when, and what
-- has to change in the programs before.
--
-- Everything of a conversation is where its id hashes to: its row, who is in it, its messages.
-- Accounts, and who blocks whom, are small, read with every statement and rarely written: a copy
-- on every node. Logins are written often and never read together with conversations: they stay
-- on the coordinator.
--
-- Order: what is referenced comes before what references it.

begin;

-- They raise `version`; README.md beside this file says what does so instead.
drop trigger if exists members_added on participants;
drop trigger if exists members_removed on participants;
drop trigger if exists member_changed on participants;
drop trigger if exists blocks_added on blocks;
drop trigger if exists blocks_removed on blocks;
drop trigger if exists person_changed on users;
drop trigger if exists conversation_ended on conversations;
drop trigger if exists users_barred on users;

-- Foreign keys between what is made here: one connection per node does it in order.
set local citus.multi_shard_modify_mode to 'sequential';

-- A unique constraint that leaves the distribution column out cannot be kept on one node. No
-- foreign key names this one.
alter table participants drop constraint participants_pkey;
alter table participants add constraint participants_pkey primary key (conversation_id, id);

select create_reference_table('users');
select create_reference_table('blocks');

select create_distributed_table('conversations', 'id', colocate_with => 'none');
select create_distributed_table('participants', 'conversation_id', colocate_with => 'conversations');

-- With its partitions, which every node then has of every shard: the statements that work on a
-- table of eight partitions go on working on each shard.
select create_distributed_table('messages', 'conversation_id', colocate_with => 'conversations');
select create_distributed_table('message_changes', 'conversation_id', colocate_with => 'conversations');

commit;
