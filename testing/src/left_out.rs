//! What becomes of a test that cannot run here. Under `make test`, which installs and starts everything, it fails: a test that
//! silently does nothing is green for ever. Elsewhere it says what it lacks, and passes.

/// Set by `deploy/with-peers`.
const TESTS: &str = "CHATCHIT_TESTS";

/// Says what is missing.
///
/// # Panics
/// All tests are to run here.
#[track_caller]
pub fn left_out(missing: &str) {
    let is_all = std::env::var(TESTS).is_ok_and(|tests| tests == "all");
    assert!(!is_all, "{missing}. Install it, or set {TESTS}=some: then tests that need it are left out.");
    eprintln!("LEFT OUT: {missing}");
}

/// Whether the test is left out because this machine lacks `missing`.
///
/// # Panics
/// As [`left_out`].
#[track_caller]
pub fn is_left_out(is_here: bool, missing: &str) -> bool {
    if !is_here {
        left_out(missing);
    }
    !is_here
}

/// A variable that tells where a peer is; None: the test is left out.
///
/// # Panics
/// As [`left_out`].
#[track_caller]
pub fn variable(name: &str) -> Option<String> {
    let value = std::env::var(name).ok();
    if value.is_none() {
        left_out(&format!("{name} is not set (`deploy/with-peers` sets it)"));
    }
    value
}
