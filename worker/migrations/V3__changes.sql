-- Two more counters of a conversation, and what happened to its messages after they were written.
--
--  * `version` rises with whatever a program may remember of a conversation beside its messages: who
--    is in it and in which role, who of two blocks the other, how members are called and whether they
--    may log in, whether it is deleted. Triggers raise it, in the same transaction, whoever changes
--    something: a program of this version or of the one before, an operator with SQL. So a worker
--    that writes only `where version = <what it remembers>` cannot miss a change.
--  * `change_seq` counts what is done to messages: edits, deletions, reactions. `message_changes`
--    keeps the latest of each message, so whoever was away hears of a thousand edits once.
--
-- Only additions: programs of the version before run on this schema.
--
-- Locks are taken in one order: the row that changes, then conversations by id, as those who write
-- messages do.

alter table conversations
    add column version    bigint not null default 0,
    add column change_seq bigint not null default 0;

create table message_changes (
    conversation_id bigint not null,
    seq             bigint not null,
    change_seq      bigint not null,
    at              timestamptz(3) not null,
    what            jsonb not null,
    primary key (conversation_id, seq)
);
-- What somebody missed is read from here on, in this order.
create index message_changes_order on message_changes (conversation_id, change_seq);

create function raise_versions(ids bigint[]) returns void language sql as $$
    with locked as materialized (
        select id from conversations where id = any(ids) order by id for no key update
    )
    update conversations c set version = c.version + 1 from locked where c.id = locked.id
$$;

create function members_changed() returns trigger language plpgsql as $$
begin
    perform raise_versions(array(select distinct conversation_id from changed));
    return null;
end $$;
create trigger members_added after insert on participants
    referencing new table as changed for each statement execute function members_changed();
create trigger members_removed after delete on participants
    referencing old table as changed for each statement execute function members_changed();

-- Not for `read_seq`, which moves with every read mark.
create function member_changed() returns trigger language plpgsql as $$
begin
    perform raise_versions(array[old.conversation_id, new.conversation_id]);
    return null;
end $$;
create trigger member_changed after update of conversation_id, user_id, type, status on participants
    for each row when (old.* is distinct from new.*) execute function member_changed();

create function blocks_changed() returns trigger language plpgsql as $$
begin
    perform raise_versions(array(
        select distinct p.conversation_id
          from changed b
          join participants p on p.user_id = b.user_id
          join participants o on o.conversation_id = p.conversation_id and o.user_id = b.blocked_id));
    return null;
end $$;
create trigger blocks_added after insert on blocks
    referencing new table as changed for each statement execute function blocks_changed();
create trigger blocks_removed after delete on blocks
    referencing old table as changed for each statement execute function blocks_changed();

create function person_changed() returns trigger language plpgsql as $$
begin
    perform raise_versions(array(select conversation_id from participants where user_id = new.id));
    return null;
end $$;
create trigger person_changed after update of is_active, is_blocked, first_name, last_name, email on users
    for each row
    when ((old.is_active, old.is_blocked, old.first_name, old.last_name, old.email)
          is distinct from (new.is_active, new.is_blocked, new.first_name, new.last_name, new.email))
    execute function person_changed();

create function conversation_ended() returns trigger language plpgsql as $$
begin
    new.version := old.version + 1;
    return new;
end $$;
create trigger conversation_ended before update of deleted_at on conversations
    for each row when (old.deleted_at is distinct from new.deleted_at) execute function conversation_ended();
