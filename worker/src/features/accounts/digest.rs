//! Digests of secrets and addresses: only these are kept, in the store or as keys of the directory.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

/// SHA-256 of a refresh token, or of an address.
pub type Digest = [u8; 32];

/// The SHA-256 digest of a text.
pub(super) fn digest(text: &str) -> Digest {
    Sha256::digest(text.as_bytes()).into()
}

/// Turns an e-mail into a key, so that the directory holds no addresses.
pub(super) fn digest_text(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(&digest(text)[..16])
}
