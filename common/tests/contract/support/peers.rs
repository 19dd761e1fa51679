//! Where the real peers are.

/// A variable that tells it. None: the test is left out on this machine, which it says; where all tests are to run, it fails.
/// (`testing::variable` is the same for the crates above this one.)
#[track_caller]
pub fn variable(name: &str) -> Option<String> {
    let value = std::env::var(name).ok();
    let is_all = std::env::var("CHATCHIT_TESTS").is_ok_and(|tests| tests == "all");
    assert!(value.is_some() || !is_all, "{name} is not set: start the peers with deploy/with-peers.");
    if value.is_none() {
        println!("LEFT OUT: {name} is not set");
    }
    value
}
