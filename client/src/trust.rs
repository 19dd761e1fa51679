//! The certificate authorities to trust over TLS: those of this machine, and those of a file.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

/// The TLS configuration of connections. `more` is a file of certificates in PEM.
pub fn config(more: Option<&Path>) -> anyhow::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    // Single certificates of a machine may be odd; the others still count.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = more {
        add(&mut roots, path).with_context(|| format!("the certificates in {}", path.display()))?;
    }
    ensure!(
        !roots.is_empty(),
        "this machine has no certificate authorities: install ca-certificates, or name a file of them"
    );
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

fn add(roots: &mut RootCertStore, path: &Path) -> anyhow::Result<()> {
    let before = roots.len();
    for certificate in CertificateDer::pem_file_iter(path)? {
        roots.add(certificate?)?;
    }
    ensure!(roots.len() > before, "there is none in PEM");
    Ok(())
}
