//! How a command ends.

/// The result of a command that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All of it.
    Good,
    /// Nothing found, no answer, or only a part.
    Partly,
}

impl Ending {
    /// All of it, or only a part.
    pub fn good(is_good: bool) -> Self {
        if is_good { Self::Good } else { Self::Partly }
    }
}

/// Why a command has no outcome.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The environment lacks something.
    #[error("{0}")]
    Environment(String),
    /// A peer did not answer, or something else went wrong.
    #[error("{0:#}")]
    Failed(#[from] anyhow::Error),
}

impl From<std::io::Error> for Failure {
    fn from(err: std::io::Error) -> Self {
        Self::Failed(err.into())
    }
}
