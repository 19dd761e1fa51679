//! Concurrency and rate limits: of each budget, and of each user.
//!
//! Requests in progress are counted in this worker, because they use its memory and connections.
//! Rates are counted in the directory, for all workers together. While the directory is away,
//! reads pass: their number in progress is limited all the same.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use common::directory::{ClusterRate, Directory};
use common::limits::{
    BUSY_RETRY_MS, HISTORY_SIZE_MAX, REST_CHEAP_REQUESTS_MAX, REST_HEAVY_REQUESTS_MAX, REST_PAGE_BURST,
    REST_PAGE_PER_S, REST_PAGE_ROWS, REST_PERSON_HEAVY_MAX, REST_PERSON_REQUESTS_MAX, REST_READ_BURST,
    REST_READ_PER_S, REST_SEND_BURST, REST_SEND_PER_S, REST_WRITE_BURST, REST_WRITE_PER_S,
};
use parking_lot::Mutex;
use protocol::ids::UserId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::input::Query;
use super::response::Refusal;
use super::route::{Budget, Class, Route};
use crate::metrics;

/// The bounds of one worker.
pub struct Gate {
    cheap: Arc<Semaphore>,
    heavy: Arc<Semaphore>,
    people: People,
}

/// Requests under way, by person: all, and the heavy ones among them.
type People = Arc<Mutex<HashMap<UserId, (usize, usize)>>>;

/// A request that is under way; it ends when this is dropped.
pub struct Pass {
    _permit: OwnedSemaphorePermit,
    person: Option<(People, UserId, Budget)>,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            cheap: Arc::new(Semaphore::new(REST_CHEAP_REQUESTS_MAX)),
            heavy: Arc::new(Semaphore::new(REST_HEAVY_REQUESTS_MAX)),
            people: People::default(),
        }
    }
}

impl Gate {
    /// Lets a request in, if its budget and its person have room.
    ///
    /// # Errors
    /// 503: the worker has no room. 429: the user has too many requests in progress.
    pub fn enter(&self, route: &Route, person: Option<UserId>) -> Result<Pass, Refusal> {
        let slots = match route.budget {
            Budget::Cheap => &self.cheap,
            Budget::Heavy => &self.heavy,
        };
        let permit = Arc::clone(slots).try_acquire_owned().map_err(|_| {
            metrics::rest_refused("full");
            Refusal::busy()
        })?;
        let person = match person {
            Some(user) => Some(self.count(user, route.budget)?),
            None => None,
        };
        Ok(Pass { _permit: permit, person })
    }

    fn count(&self, user: UserId, budget: Budget) -> Result<(People, UserId, Budget), Refusal> {
        let mut people = self.people.lock();
        let (all, heavy) = people.get(&user).copied().unwrap_or_default();
        let is_heavy = budget == Budget::Heavy;
        if all >= REST_PERSON_REQUESTS_MAX || (is_heavy && heavy >= REST_PERSON_HEAVY_MAX) {
            metrics::rest_refused("person_at_once");
            return Err(Refusal::too_many(Duration::from_millis(BUSY_RETRY_MS)));
        }
        people.insert(user, (all + 1, heavy + usize::from(is_heavy)));
        Ok((Arc::clone(&self.people), user, budget))
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let Some((people, user, budget)) = self.person.take() else { return };
        let mut people = people.lock();
        let Some((all, heavy)) = people.get_mut(&user) else { return };
        *all -= 1;
        *heavy -= usize::from(budget == Budget::Heavy);
        if *all == 0 {
            people.remove(&user);
        }
    }
}

/// Takes what a request of this class costs its person.
///
/// # Errors
/// 429: too often. 503: it is a write, and the directory is away.
pub async fn charge(
    directory: &Directory,
    class: Class,
    user: UserId,
    query: &Query<'_>,
) -> Result<(), Refusal> {
    let (name, cost, rate) = match class {
        Class::Own => return Ok(()),
        Class::Read => ("read", 1, rate(REST_READ_BURST, REST_READ_PER_S)),
        Class::Page => ("page", pages(query), rate(REST_PAGE_BURST, REST_PAGE_PER_S)),
        Class::Write => ("write", 1, rate(REST_WRITE_BURST, REST_WRITE_PER_S)),
        Class::Send => ("send", 1, rate(REST_SEND_BURST, REST_SEND_PER_S)),
    };
    match directory.take_tokens(&format!("rest.{name}.{user}"), cost, rate).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(wait)) => {
            metrics::rest_refused("person_rate");
            Err(Refusal::too_many(wait))
        }
        Err(_) if matches!(class, Class::Read | Class::Page) => Ok(()),
        Err(err) => Err(err.into()),
    }
}

const fn rate(burst: u32, per_second: f64) -> ClusterRate {
    ClusterRate { burst, per_second }
}

/// The cost of a page: one for each [`REST_PAGE_ROWS`] rows that the client asks for.
fn pages(query: &Query<'_>) -> u32 {
    // More than the largest page is not given, and not paid for.
    query.page_size().unwrap_or(1).min(HISTORY_SIZE_MAX).div_ceil(REST_PAGE_ROWS).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rest::response::ok;
    use crate::rest::route::get;

    #[test]
    fn heavy_requests_leave_room_for_cheap_ones_and_one_person_for_the_others() {
        let cheap = get("/a", |_| Box::pin(async { ok(200, "", &()) }));
        let heavy = cheap.heavy();
        let gate = Gate::default();
        let mut passes = Vec::new();
        for user in 1..=REST_HEAVY_REQUESTS_MAX as i64 {
            passes.push(gate.enter(&heavy, Some(UserId(user))).unwrap());
        }
        assert_eq!(gate.enter(&heavy, Some(UserId(999))).err(), Some(Refusal::busy()));
        let (alice, bob) = (Some(UserId(1_000)), Some(UserId(1_001)));
        let hers: Vec<_> = (0..REST_PERSON_REQUESTS_MAX).map(|_| gate.enter(&cheap, alice).ok()).collect();
        assert!(hers.iter().all(Option::is_some));
        let too_many = Refusal::too_many(Duration::from_millis(BUSY_RETRY_MS));
        assert_eq!(gate.enter(&cheap, alice).err(), Some(too_many.clone()));
        assert!(gate.enter(&cheap, bob).is_ok() && gate.enter(&cheap, None).is_ok());

        drop((passes, hers));
        assert!(gate.people.lock().is_empty(), "no person is remembered who asks nothing");
        let hers: Vec<_> = (0..REST_PERSON_HEAVY_MAX).map(|_| gate.enter(&heavy, alice).ok()).collect();
        assert!(hers.iter().all(Option::is_some));
        assert_eq!(gate.enter(&heavy, alice).err(), Some(too_many));
        assert!(gate.enter(&cheap, alice).is_ok() && gate.enter(&heavy, bob).is_ok());
    }

    #[test]
    fn a_page_costs_by_its_size() {
        let cost = |text| pages(&Query::parse(text));
        assert_eq!((cost(""), cost("size=100"), cost("limit=101"), cost("size=1000")), (1, 1, 2, 10));
        assert_eq!((cost("size=x"), cost("size=4000000000")), (1, 10));
    }
}
