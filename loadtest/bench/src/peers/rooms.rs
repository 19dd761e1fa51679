//! People and rooms written straight into the database: thousands of accounts over REST would take
//! longer than what is measured.

use anyhow::Context;
use tokio_postgres::NoTls;

const PEOPLE: &str = "
insert into users (id, email, phone, password, first_name, last_name)
select id, 'bench-room-' || id || '@bench.invalid', 'bench-room-' || id, '-', 'Bench', 'Person'
  from generate_series($1::bigint, $2::bigint) as id
    on conflict do nothing";

const ROOM: &str = "
with room as (insert into conversations (title) values ('bench room') returning id)
insert into participants (conversation_id, user_id, status)
select room.id, person, 'VERIFIED' from room, unnest($1::bigint[]) as person
returning conversation_id";

/// Makes `members` accounts from the id `first` on and one more; a room of the first ones, and one of
/// the first and the one more.
///
/// # Errors
/// PostgreSQL refuses.
pub async fn make(url: &str, first: i64, members: usize) -> anyhow::Result<[i64; 2]> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    // It ends with the client, which says what is wrong.
    tokio::spawn(connection);
    let last = first + i64::try_from(members)?;
    client.execute(PEOPLE, &[&first, &last]).await?;
    let mut rooms = [0; 2];
    for (room, people) in rooms.iter_mut().zip([(first..last).collect::<Vec<i64>>(), vec![first, last]]) {
        let row = client.query(ROOM, &[&people]).await?.into_iter().next().context("a room has members")?;
        *room = row.get(0);
    }
    // What autovacuum would do within a minute.
    client.batch_execute("analyze users, participants").await?;
    Ok(rooms)
}
