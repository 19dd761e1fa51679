//! The version and commit of this build. Every program reports them: in `--version`, in its first log line,
//! to Prometheus (`build_info`), in `/health`, and to operators.

/// `0.1.0 (abc1234)`: version and commit. Two builds of one version differ in the commit, so a
/// rollout that was not finished is seen (alert `VersionsMixed`).
pub const VERSION: &str = env!("BUILD_VERSION");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_says_its_version_and_its_commit() {
        let (version, commit) = VERSION.split_once(' ').expect("two parts");
        assert_eq!(version, env!("CARGO_PKG_VERSION"));
        let commit = commit.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).expect("brackets");
        let is_known = commit.len() >= 7 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
        assert!(is_known || ["debug build", "unknown commit"].contains(&commit), "{VERSION}");
    }
}
