//! Which build this is: the version, and in brackets the commit, as `BUILD_VERSION` to the compiler.
//!
//! The commit comes from `CHATCHIT_COMMIT` (an image is built without `.git`), else from the
//! repository, else from the archive that git made of it. A debug build does not follow the
//! repository, since every commit would compile the whole workspace again; it says so.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

/// `git archive` writes the commit here (`.gitattributes`).
const ARCHIVED: &str = "$Format:%h$";

fn main() -> std::io::Result<()> {
    let is_release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let given = std::env::var("CHATCHIT_COMMIT").ok().filter(|commit| !commit.is_empty());
    let mut out = std::io::stdout().lock();
    let commit = match given {
        Some(commit) => commit,
        None if !is_release => "debug build".to_owned(),
        None => {
            for file in watched() {
                writeln!(out, "cargo:rerun-if-changed={file}")?;
            }
            let archived = (!ARCHIVED.contains("Format")).then(|| ARCHIVED.to_owned());
            repository().or(archived).unwrap_or_else(|| "unknown commit".to_owned())
        }
    };
    let commit: String =
        commit.chars().filter(|one| one.is_ascii_graphic() || *one == ' ').take(40).collect();
    let version = std::env::var("CARGO_PKG_VERSION").unwrap_or_default();
    writeln!(out, "cargo:rerun-if-changed=build.rs\ncargo:rerun-if-env-changed=CHATCHIT_COMMIT")?;
    writeln!(out, "cargo:rustc-env=BUILD_VERSION={version} ({commit})")
}

/// The commit of our own repository; None when the sources lie in another repository, or in none.
fn repository() -> Option<String> {
    let top = git(&["rev-parse", "--show-toplevel"])?;
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?.canonicalize().ok()?;
    (Path::new(&top).canonicalize().ok()? == ours).then(|| git(&["rev-parse", "--short=7", "HEAD"]))?
}

/// The files of git that change with the commit. A file that is missing would count as changed for ever.
fn watched() -> Vec<String> {
    let branch = git(&["symbolic-ref", "-q", "HEAD"]);
    let names = ["HEAD", "logs/HEAD", "packed-refs"].into_iter().map(str::to_owned).chain(branch);
    let paths = names.filter_map(|name| git(&["rev-parse", "--path-format=absolute", "--git-path", &name]));
    paths.filter(|path| Path::new(path).exists()).collect()
}

fn git(arguments: &[&str]) -> Option<String> {
    let mut command = Command::new("git");
    // A tree that another user owns is read as well: in containers that is the usual case.
    command.args(["-c", "safe.directory=*"]).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
