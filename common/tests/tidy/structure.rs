//! Rules of the product as a whole: which file may use which, what is called how, how long files are.

use std::collections::BTreeMap;

use super::imports::Product;
use super::{document, none, rust, says};

/// Half of the files are at most this long.
const FILE_LINES_MEDIAN: usize = 130;

/// The crates that are the product; the others prove it or press it.
const PRODUCT: &[&str] =
    &["protocol/src/", "common/src/", "gateway/src/", "worker/src/", "client/src/", "src/"];

pub(crate) fn is_product(path: &str) -> bool {
    PRODUCT.iter().any(|folder| path.starts_with(folder))
}

fn product() -> Product {
    let sources = rust();
    let product = sources.iter().filter(|source| is_product(&source.path));
    Product::read(product.map(|source| (source.path.as_str(), source.text.as_str())))
}

#[test]
fn files_use_each_other_in_one_direction() {
    none("files use each other in a circle: move what both need into a file below them", product().circles());
}

fn twice(product: &Product) -> Vec<String> {
    let mut homes: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (name, path) in product.visible_types() {
        homes.entry(name).or_default().push(path);
    }
    let doubles = homes.iter().filter(|(_, paths)| paths.len() > 1);
    doubles.map(|(name, paths)| format!("{name}: {}", paths.join(", "))).collect()
}

#[test]
fn a_type_name_means_one_thing() {
    none("a type name that more than one file can see is defined twice", twice(&product()));
}

#[test]
fn half_of_the_files_are_short() {
    let product = product();
    let known: Vec<&str> = product.files.iter().map(|file| file.path.as_str()).collect();
    let mut lengths: Vec<usize> = rust()
        .iter()
        .filter(|source| known.contains(&source.path.as_str()))
        .map(|source| source.text.lines().count())
        .collect();
    lengths.sort_unstable();
    let median = lengths[lengths.len() / 2];
    assert!(median <= FILE_LINES_MEDIAN, "the median of {} files is {median} lines", lengths.len());
}

/// A panic under a lock is no reason for every later caller to fail: `parking_lot` has no poison.
#[test]
fn no_lock_can_be_poisoned() {
    let mut found = Vec::new();
    for source in rust().iter().filter(|source| is_product(&source.path)) {
        let of_std = |line: &str| ["Mutex", "RwLock"].iter().any(|lock| says(line, lock));
        let lines = source.code().filter(|(_, line)| line.contains("std::sync") && of_std(line));
        found.extend(lines.map(|(number, _)| format!("{}:{number}", source.path)));
    }
    none("locks are parking_lot's", found);
}

/// The uses in circles of a small product.
#[track_caller]
fn circles(files: &[(&str, &str)], expect: &[&str]) {
    assert_eq!(Product::read(files.iter().copied()).circles(), expect);
}

#[test]
fn a_circle_is_seen_through_every_form_of_an_import() {
    let uses_a = "a/src/b.rs uses a/src/a.rs";
    let both =
        |path: &str| ["a/src/a.rs uses a/src/b.rs (crate::b::Two)".to_owned(), format!("{uses_a} ({path})")];
    for (text, path) in [
        ("use crate::a::One; pub struct Two;", "crate::a::One"),
        ("use super::{a::{One as Other}}; pub struct Two;", "super::a::One"),
        ("use super::a; pub struct Two(a::One);", "a::One"),
        ("use super::a as other; pub fn f() -> u8 { other::one() } pub struct Two;", "other::one"),
        ("pub struct Two(crate::One);", "crate::One"),
        ("pub struct Two; mod inner { use super::super::a::One; }", "super::super::a::One"),
        ("pub struct Two; macro_rules! m { () => { $crate::a::One } }", "crate::a::One"),
        ("use crate::*; pub struct Two(One);", "One"),
        ("pub struct Two; fn f() { use super::a as other; other::one() }", "other::one"),
        ("pub struct Two; fn f() { assert!(crate::a::one()) }", "crate::a::one"),
    ] {
        let lib = "mod a; mod b; pub use a::One;";
        let a = "use crate::b::Two; pub struct One; pub fn one() {}";
        let files = [("a/src/lib.rs", lib), ("a/src/a.rs", a), ("a/src/b.rs", text)];
        let expect = both(path);
        circles(&files, &[&expect[0], &expect[1]]);
    }
}

#[test]
fn what_is_no_circle_is_none() {
    // A front passes on what its children need of each other.
    let front = "mod ground; mod wall; pub use self::ground::Ground; pub use self::wall::Wall;";
    let wall = "use super::Ground; pub struct Wall(Ground);";
    circles(
        &[("a/src/x/mod.rs", front), ("a/src/x/ground.rs", "pub struct Ground;"), ("a/src/x/wall.rs", wall)],
        &[],
    );
    // A child that needs what its front defines itself is one.
    let front = "mod wall; use self::wall::Wall; pub struct Ground;";
    circles(
        &[("a/src/x/mod.rs", front), ("a/src/x/wall.rs", wall)],
        &[
            "a/src/x/mod.rs uses a/src/x/wall.rs (self::wall::Wall)",
            "a/src/x/wall.rs uses a/src/x/mod.rs (super::Ground)",
        ],
    );
    // Tests may look up.
    let front = "mod wall; pub use wall::Wall; pub fn f(_: Wall) {}";
    let wall = "pub struct Wall; #[cfg(test)] mod tests { use super::super::f; }";
    circles(&[("a/src/lib.rs", front), ("a/src/wall.rs", wall)], &[]);
}

#[test]
fn only_a_name_that_others_can_see_is_a_double() {
    let files =
        |second| [("a/src/a.rs", "pub(super) struct State; pub enum Kind {}"), ("b/src/b.rs", second)];
    let found = |second| twice(&Product::read(files(second)));
    assert_eq!(found("struct State; mod x { type Kind = u8; }"), [""; 0]);
    assert_eq!(found("#[cfg(test)] pub struct State;"), [""; 0]);
    assert_eq!(found("pub(crate) type State = u8;"), ["State: a/src/a.rs, b/src/b.rs"]);
    assert_eq!(found("mod x { pub trait Kind {} }"), ["Kind: a/src/a.rs, b/src/b.rs"]);
}

#[test]
fn every_limit_has_its_reason_beside_it() {
    let text = document("common/src/limits.rs");
    let others = document("common/src/limits/operators.rs")
        + &document("common/src/limits/rest.rs")
        + &document("protocol/src/limits.rs");
    let mut found = Vec::new();
    let mut before = "";
    for line in text.lines().chain(others.lines()) {
        if let Some(rest) = line.strip_prefix("pub const ")
            && !before.starts_with("///")
        {
            found.push(rest.split(':').next().unwrap_or_default().to_owned());
        }
        before = line;
    }
    assert!(text.contains("const _: () = {"), "relations between limits are asserted");
    none("a limit without a reason", found);
}

/// `tests/run` tells its two lots apart by the first letter of a test program: these two mostly wait.
#[test]
fn only_the_lot_that_waits_begins_with_a_b() {
    let mut found = Vec::new();
    for source in rust() {
        let Some((_, name)) =
            format!("/{}", source.path).split_once("/tests/").map(|(a, b)| (a.to_owned(), b.to_owned()))
        else {
            continue;
        };
        let program =
            name.strip_suffix("/main.rs").or(name.strip_suffix(".rs")).filter(|name| !name.contains('/'));
        found.extend(
            program
                .filter(|name| name.starts_with('b') && !["breaking", "by_hand"].contains(name))
                .map(str::to_owned),
        );
    }
    none("a test program in the lot of those that wait", found);
}
