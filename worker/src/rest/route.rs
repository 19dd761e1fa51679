//! A row of the table of routes: method, path, access, budget, rate and handler.
//!
//! By default a route needs an account, is cheap, and is limited as a read or a write.

use std::pin::Pin;

use protocol::{Account, Role};

use super::call::Call;
use super::response::{Outcome, Refusal};

/// A method that routes have. HEAD is asked as GET: the gateway leaves the body out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Method {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

impl Method {
    /// The method of a request; None for one that no route can have.
    pub fn of(name: &str) -> Option<Self> {
        match name {
            "GET" | "HEAD" => Some(Self::Get),
            "POST" => Some(Self::Post),
            "PUT" => Some(Self::Put),
            "PATCH" => Some(Self::Patch),
            "DELETE" => Some(Self::Delete),
            _ => None,
        }
    }

    /// As HTTP writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }

    /// As `Allow` lists it.
    pub(super) const fn allowed(self) -> &'static str {
        match self {
            Self::Get => "GET, HEAD",
            other => other.name(),
        }
    }
}

/// The access of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// A client without a token, or with one that has expired.
    Public,
    /// A client with a valid token.
    Account,
    /// A client whose token is an administrator's.
    Admin,
}

impl Permission {
    /// Refuses a client that may not ask.
    ///
    /// # Errors
    /// 401 without a token where one is needed, 403 with one that is not enough.
    pub fn check(self, account: Option<&Account>) -> Result<(), Refusal> {
        match (self, account) {
            (Self::Public, _) | (Self::Account, Some(_)) => Ok(()),
            (Self::Admin, Some(account)) if account.role == Role::Admin => Ok(()),
            (Self::Admin, Some(_)) => Err(Refusal::forbidden("Forbidden resource")),
            (Self::Account | Self::Admin, None) => Err(Refusal::no_token()),
        }
    }
}

/// What answering may cost. Each has requests at once and connections to PostgreSQL of its own, so
/// that neither waits for the other, and the lanes wait for neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Budget {
    /// A few rows by their keys.
    Cheap,
    /// Pages, searches, and other requests that read or write many rows.
    Heavy,
}

/// The rate limit of one user: a bucket for each class, cluster-wide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The handler has limits of its own.
    Own,
    /// A single thing.
    Read,
    /// A page of a history, up to a megabyte.
    Page,
    /// A change.
    Write,
    /// A chat message.
    Send,
}

/// An answer on its way.
pub type Answering<'a> = Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;

/// The handler of a route: `|call| Box::pin(one(call))`.
pub type Handler = for<'a> fn(Call<'a>) -> Answering<'a>;

/// A row.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// The method.
    pub method: Method,
    /// The path, with its parameters in braces.
    pub path: &'static str,
    /// The access.
    pub permission: Permission,
    /// The budget.
    pub budget: Budget,
    /// The rate limit of one user.
    pub class: Class,
    /// The handler.
    pub handler: Handler,
}

/// A route that reads.
pub const fn get(path: &'static str, handler: Handler) -> Route {
    row(Method::Get, path, Class::Read, handler)
}

/// A route that makes something.
pub const fn post(path: &'static str, handler: Handler) -> Route {
    row(Method::Post, path, Class::Write, handler)
}

/// A route that replaces something.
pub const fn put(path: &'static str, handler: Handler) -> Route {
    row(Method::Put, path, Class::Write, handler)
}

/// A route that changes a part of something.
pub const fn patch(path: &'static str, handler: Handler) -> Route {
    row(Method::Patch, path, Class::Write, handler)
}

/// A route that removes something.
pub const fn delete(path: &'static str, handler: Handler) -> Route {
    row(Method::Delete, path, Class::Write, handler)
}

const fn row(method: Method, path: &'static str, class: Class, handler: Handler) -> Route {
    Route { method, path, permission: Permission::Account, budget: Budget::Cheap, class, handler }
}

impl Route {
    /// Needs no token, and limits itself.
    pub const fn public(self) -> Self {
        Self { permission: Permission::Public, class: Class::Own, ..self }
    }

    /// For administrators only.
    pub const fn admin(self) -> Self {
        Self { permission: Permission::Admin, ..self }
    }

    /// May cost much.
    pub const fn heavy(self) -> Self {
        Self { budget: Budget::Heavy, ..self }
    }

    /// Limited as something else than a read or a write.
    pub const fn limited(self, class: Class) -> Self {
        Self { class, ..self }
    }
}
