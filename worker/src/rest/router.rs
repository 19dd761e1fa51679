//! From a method and a path to a row.

use matchit::Params;

use super::route::{Method, Route};

/// The rows, by their paths.
pub struct Router {
    paths: matchit::Router<Vec<&'static Route>>,
}

/// What a request asks for.
pub enum Found<'r, 'p> {
    /// This row, with these parameters.
    Route(&'static Route, Params<'r, 'p>),
    /// A path that there is, by a method that it does not have: these it has, as `Allow` lists them.
    OtherMethods(String),
    /// Nothing.
    Unknown,
}

impl Router {
    /// A router of these rows.
    ///
    /// # Panics
    /// Two rows are in each other's way: a test finds it before any program starts.
    pub fn new(rows: impl IntoIterator<Item = &'static Route>) -> Self {
        let mut by_path: Vec<(&'static str, Vec<&'static Route>)> = Vec::new();
        for row in rows {
            let at = by_path.iter().position(|(path, _)| *path == row.path);
            let at = at.unwrap_or_else(|| {
                by_path.push((row.path, Vec::new()));
                by_path.len() - 1
            });
            let of_path = &mut by_path[at].1;
            let is_double = of_path.iter().any(|other| other.method == row.method);
            assert!(!is_double, "{} {} has one row", row.method.name(), row.path);
            of_path.push(row);
        }
        let mut paths = matchit::Router::new();
        for (path, of_path) in by_path {
            paths.insert(path, of_path).expect("no two paths of the table are in each other's way");
        }
        Self { paths }
    }

    /// Looks for a row.
    pub fn find<'r, 'p>(&'r self, method: &str, path: &'p str) -> Found<'r, 'p> {
        // As Express does: a slash at the end changes nothing.
        let path = path.strip_suffix('/').filter(|path| !path.is_empty()).unwrap_or(path);
        let Ok(at_path) = self.paths.at(path) else { return Found::Unknown };
        let wanted = Method::of(method);
        match at_path.value.iter().find(|row| Some(row.method) == wanted) {
            Some(row) => Found::Route(row, at_path.params),
            None => Found::OtherMethods(allowed(at_path.value)),
        }
    }
}

fn allowed(rows: &[&'static Route]) -> String {
    let mut methods: Vec<Method> = rows.iter().map(|row| row.method).collect();
    methods.sort_unstable();
    methods.into_iter().map(Method::allowed).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rest::response::ok;
    use crate::rest::route::{delete, get, put};

    static ROWS: [Route; 4] = [
        get("/rooms/{room}", |_| Box::pin(async { ok(200, "", &()) })),
        delete("/rooms/{room}", |_| Box::pin(async { ok(200, "", &()) })),
        put("/rooms/{room}/seats/{seat}", |_| Box::pin(async { ok(200, "", &()) })),
        get("/rooms/free", |_| Box::pin(async { ok(200, "", &()) })),
    ];

    #[test]
    fn rows_are_found_by_method_and_path_with_all_their_parameters() {
        let router = Router::new(&ROWS);
        let check = |method: &str, path: &str, expect: &str| {
            let found = match router.find(method, path) {
                Found::Route(row, params) => {
                    let params: Vec<_> =
                        params.iter().map(|(name, value)| format!("{name}={value}")).collect();
                    format!("{} {} {}", row.method.name(), row.path, params.join(","))
                }
                Found::OtherMethods(allow) => format!("allow {allow}"),
                Found::Unknown => "unknown".to_owned(),
            };
            assert_eq!(found.trim_end(), expect, "{method} {path}");
        };
        check("GET", "/rooms/7", "GET /rooms/{room} room=7");
        check("HEAD", "/rooms/7/", "GET /rooms/{room} room=7");
        check("DELETE", "/rooms/7", "DELETE /rooms/{room} room=7");
        check("PUT", "/rooms/7/seats/2", "PUT /rooms/{room}/seats/{seat} room=7,seat=2");
        check("GET", "/rooms/free", "GET /rooms/free");
        check("PATCH", "/rooms/7", "allow GET, HEAD, DELETE");
        check("BREW", "/rooms/7", "allow GET, HEAD, DELETE");
        check("GET", "/rooms/7/seats/2", "allow PUT");
        check("DELETE", "/rooms/free", "allow GET, HEAD");
        for path in ["", "/", "/rooms", "/rooms//seats/2", "/rooms/7/seats", "/rooms/7/seats/2/x"] {
            check("GET", path, "unknown");
        }
    }
}
