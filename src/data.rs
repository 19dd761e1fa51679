//! The data folder: what one process in all needs to find again after a restart.
//!
//! Locked while in use, so that two processes never share a database folder. Secrets are made
//! once from the system's randomness and readable by their owner only.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use common::config::Secret;

/// A data folder.
pub struct Data {
    folder: PathBuf,
    lock: Option<fs::File>,
}

impl Data {
    /// `CHATCHIT_DATA`, else `./data`. Made when it is not there.
    pub fn open() -> anyhow::Result<Self> {
        let folder = std::env::var_os("CHATCHIT_DATA").map_or_else(|| PathBuf::from("data"), PathBuf::from);
        fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        let this = Self { folder: folder.canonicalize()?, lock: None };
        // An empty folder will be ours, and one with a lock is: both are nobody else's to read.
        if this.path("lock").exists() || fs::read_dir(&this.folder)?.next().is_none() {
            this.close_to_others()?;
        }
        Ok(this)
    }

    /// Others may not read the folder. As root they may pass through it: the database in it belongs to another user.
    fn close_to_others(&self) -> anyhow::Result<()> {
        let mode = if self.is_root()? { 0o711 } else { 0o700 };
        let closed = fs::set_permissions(&self.folder, fs::Permissions::from_mode(mode));
        closed.with_context(|| format!("{} cannot be closed to others", self.folder.display()))
    }

    /// Keeps every other process out until this one ends.
    pub fn lock(&mut self) -> anyhow::Result<()> {
        let path = self.path("lock");
        let file = fs::OpenOptions::new().create(true).truncate(false).write(true).open(&path)?;
        if file.try_lock().is_err() {
            bail!("another chatchit uses {} (CHATCHIT_DATA names another folder)", self.folder.display());
        }
        self.lock = Some(file);
        Ok(())
    }

    /// The folder itself.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A place in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Whether the process runs as root: then its files belong to root.
    pub fn is_root(&self) -> anyhow::Result<bool> {
        Ok(fs::metadata("/proc/self")?.uid() == 0)
    }

    /// The secret of this name, made by `make` at the first use.
    pub fn secret(&self, name: &str, make: impl FnOnce() -> String) -> anyhow::Result<Secret> {
        let path = self.path(name);
        let mut text = String::new();
        let created = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        match created {
            Ok(mut file) => {
                text = make();
                file.write_all(text.as_bytes())?;
            }
            Err(err) if err.kind() == std::io::ErrorKind::AlreadyExists => {
                fs::File::open(&path)?.read_to_string(&mut text)?;
            }
            Err(err) => return Err(err).with_context(|| format!("{} cannot be made", path.display())),
        }
        if text.trim().is_empty() {
            bail!("{} is empty: delete it, and a new one is made", path.display());
        }
        Ok(Secret::new(text.trim()))
    }
}
