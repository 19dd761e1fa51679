//! The table of routes: who may ask, and that the protocol document lists it.

use std::collections::BTreeMap;
use std::path::Path;

use protocol::ids::{LoginId, UserId};
use protocol::{Account, Role};
use worker::features::{ALL, routes};
use worker::rest::route::{Permission, Route};

use crate::support::client::{Client, request};
use crate::support::postgres::Database;

fn who(permission: Permission) -> &'static str {
    match permission {
        Permission::Public => "public",
        Permission::Account => "account",
        Permission::Admin => "admin",
    }
}

/// As the document writes it.
fn written(route: &Route) -> String {
    format!("{} {}", route.method.name(), route.path.replace('{', ":").replace('}', ""))
}

#[test]
fn the_protocol_document_lists_each_route_with_who_may_ask_and_no_other() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../protocol/PROTOCOL.md");
    let document = std::fs::read_to_string(path).unwrap();
    let methods = ["GET ", "POST ", "PUT ", "PATCH ", "DELETE "];
    let mut listed = BTreeMap::new();
    for line in document.lines().filter(|line| line.starts_with("| `")) {
        let mut cells = line.trim_matches('|').split(" | ").map(str::trim);
        let (Some(names), Some(who)) = (cells.next(), cells.next()) else { continue };
        let words = names.split('`').skip(1).step_by(2);
        for name in words.filter(|word| methods.iter().any(|method| word.starts_with(method))) {
            listed.insert(name.to_owned(), who.to_owned());
        }
    }
    let rows = routes().map(|route| (written(route), who(route.permission).to_owned()));
    let rows: BTreeMap<_, _> = rows.collect();
    let missing: Vec<_> = rows.iter().filter(|(name, who)| listed.get(*name) != Some(who)).collect();
    let unknown: Vec<_> = listed.iter().filter(|(name, who)| rows.get(*name) != Some(who)).collect();
    assert!(
        missing.is_empty() && unknown.is_empty(),
        "not in PROTOCOL.md: {missing:?}; only there: {unknown:?}"
    );
}

#[test]
fn features_have_names_of_their_own_and_statements_too() {
    let mut names: Vec<&str> = ALL.iter().map(|feature| feature.name).collect();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/features");
    let mut folders: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(Result::unwrap)
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort_unstable();
    folders.sort_unstable();
    assert_eq!(names, folders, "each folder is a feature, and is in the list");
}

/// Made from the table: a new row is tested by being there.
#[tokio::test]
async fn no_route_answers_a_client_that_may_not_ask() {
    let Some(db) = Database::fresh().await else { return };
    let api = Client::new(db.store.clone());
    let user = Account { user: UserId(1), login: LoginId(1), role: Role::User, expires_s: i64::MAX };
    let admin = Account { role: Role::Admin, ..user.clone() };
    let mut refused = 0;
    for route in routes() {
        let path = route.path.replace(['{', '}'], "").replace("/id", "/1");
        let ask = async |account: Option<&Account>| {
            let asked = request(account.cloned(), route.method.name(), &path, b"{}".to_vec());
            api.rest.answer(&asked).await.status
        };
        let answers = [ask(None).await, ask(Some(&user)).await, ask(Some(&admin)).await];
        let is_refused = answers.map(|status| [401, 403].contains(&status));
        match route.permission {
            Permission::Public => assert!(!is_refused[0], "{}: {answers:?}", written(route)),
            Permission::Account => assert_eq!(answers[0], 401, "{}: {answers:?}", written(route)),
            Permission::Admin => assert_eq!(answers[..2], [401, 403], "{}: {answers:?}", written(route)),
        }
        refused += usize::from(is_refused[0]);
        assert_ne!(answers[2], 405, "{}", written(route));
    }
    assert!(refused > 5, "most routes need a token");
    db.finish().await;
}
