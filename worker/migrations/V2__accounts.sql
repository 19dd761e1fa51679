-- Accounts: logins that end for good, refresh tokens that bear two tabs, addresses where the right
-- password was given.
--
-- Everything here is added; nothing changes its meaning. Programs of the version before run on this
-- schema as they did.

-- A refresh token that is shown again shortly after it was spent gets the same successor, as long
-- as that successor was not used itself.
alter table refresh_tokens
    -- The token that was spent for this one.
    add column parent     bytea,
    -- The token's successor was used: from now on showing the token ends the login.
    add column is_settled boolean not null default false;

-- Directories that lost their data learn again which logins ended; every few seconds a worker looks
-- for those that ended lately. Few logins end by anything but their age.
create index logins_ended on logins (ended_at, id) where ended_at is not null;

-- Where the right password of an account was given: guesses from elsewhere do not keep its owner
-- out. Only digests, so that the table tells nobody where people live.
create table known_addresses (
    user_id bigint not null references users on delete cascade,
    address bytea not null,
    seen_at timestamptz(3) not null default clock_timestamp(),
    primary key (user_id, address)
);

-- Whoever blocks an account, by command or in SQL, ends its logins with the same statement.
create function end_logins_of_barred() returns trigger language plpgsql as $$
begin
    update logins set ended_at = clock_timestamp() where user_id = new.id and ended_at is null;
    return null;
end $$;

create trigger users_barred
    after update of is_blocked, is_active on users
    for each row
    when ((new.is_blocked or not new.is_active) and not (old.is_blocked or not old.is_active))
    execute function end_logins_of_barred();
