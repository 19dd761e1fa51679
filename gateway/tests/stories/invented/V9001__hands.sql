-- Hands that members raise: one of each member and conversation.
create table raised_hands (
    conversation_id bigint not null,
    user_id         bigint not null,
    primary key (conversation_id, user_id)
);
