//! Tokens: the only place that says `jsonwebtoken`.
