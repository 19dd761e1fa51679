-- Stand-ins for two functions of Citus: they place nothing, and refuse what Citus refuses, in its
-- words where these are known. From its documentation (Creating and Modifying Distributed Objects;
-- SQL Support and Workarounds) and from the checks in its source.

create table placed (rel regclass primary key, col name, type oid, family text);

-- Rules for every table that Citus is to know.
create function may_be_placed(target regclass) returns void language plpgsql as $$
begin
    if exists (select from placed where rel = target) then
        raise 'table % is already distributed', target;
    end if;
    if exists (select from pg_class where oid = target and relispartition) then
        raise 'cannot distribute relation % which is a partition', target;
    end if;
    if exists (select from pg_inherits i join pg_class c on c.oid = i.inhrelid
                where i.inhparent = target and c.relkind = 'p') then
        raise 'distributing multi-level partitioned tables is not supported: %', target;
    end if;
    if exists (select from pg_trigger where tgrelid = target and not tgisinternal) then
        raise 'triggers are not supported on distributed tables: %', target;
    end if;
    if exists (select from pg_attribute
                where attrelid = target and attidentity <> '' and atttypid <> 'bigint'::regtype) then
        raise 'identity columns have to be bigint: %', target;
    end if;
end $$;

create function create_reference_table(target text) returns void language plpgsql as $$
begin
    perform may_be_placed(target::regclass);
    if exists (select from pg_constraint k
                where k.conrelid = target::regclass and k.contype = 'f' and k.confrelid <> k.conrelid
                  and not exists (select from placed p where p.rel = k.confrelid and p.col is null)) then
        raise 'a reference table can only have reference keys to other reference tables: %', target;
    end if;
    insert into placed values (target::regclass);
end $$;

create function create_distributed_table(target text, col text, colocate_with text default 'default')
returns void
language plpgsql as $$
declare
    here regclass := target::regclass;
    key record; -- the distribution column
    k record;
    there placed;
    mine text := target;
    wanted oid;
begin
    perform may_be_placed(here);
    select attnum, atttypid as type into key
      from pg_attribute where attrelid = here and attname = col and not attisdropped;
    if key.attnum is null then
        raise 'there is no column % in %', col, target;
    end if;

    if colocate_with not in ('none', 'default') then
        select family, type into mine, wanted from placed where rel::text = colocate_with and placed.col is not null;
        if mine is null then
            raise 'colocate_with: % is not distributed', colocate_with;
        end if;
        if wanted <> key.type then
            raise 'cannot colocate % and %: distribution column types do not match', target, colocate_with;
        end if;
    end if;

    for k in select indexrelid::regclass as name from pg_index
              where indrelid = here and (indisunique or indisexclusion) and not key.attnum = any (indkey) loop
        raise 'distributed relations cannot have constraints that do not include the partition column: %', k.name;
    end loop;

    for k in select * from pg_constraint where conrelid = here and contype = 'f' loop
        select * into there from placed where rel = k.confrelid;
        if there.rel is null then
            raise 'Referenced table must be a distributed table or a reference table: %', k.conname;
        end if;
        if key.attnum = any (k.conkey)
           and (k.confdeltype in ('n', 'd') or k.confupdtype in ('n', 'd', 'c')) then
            raise 'this action is not supported on a key with the distribution column: %', k.conname;
        end if;
        -- To another distributed table: of the same family, and from key to key.
        if there.col is not null and (there.family <> mine or not exists (
            select from unnest(k.conkey, k.confkey) as pair (from_col, to_col)
              join pg_attribute a on a.attrelid = k.confrelid and a.attnum = pair.to_col
             where pair.from_col = key.attnum and a.attname = there.col)) then
            raise 'the relations are not colocated, or the key is not part of it: %', k.conname;
        end if;
    end loop;
    insert into placed values (here, col, key.type, mine);
end $$;

-- At the end: what stayed on the coordinator references nothing that is spread.
create function all_placed() returns void language plpgsql as $$
declare
    k record;
begin
    for k in select c.conname, c.conrelid::regclass as rel
               from pg_constraint c join placed there on there.rel = c.confrelid and there.col is not null
              where c.contype = 'f' and not exists (select from placed p where p.rel = c.conrelid) loop
        raise 'a local table cannot reference a distributed one: % of %', k.conname, k.rel;
    end loop;
end $$;
