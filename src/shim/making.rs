//! Making a process, in a thread: its root filesystem and streams, then what the library does.

use std::path::Path;

use super::messages::events::TaskIo;
use super::messages::task::{CreateRequest, Mount};
use super::options::Options;
use super::relay::Relay;
use super::rootfs;
use super::stdio::{self, Prepared, Streams, Whose};
use crate::Result;
use crate::cgroup::{OomNotice, Place};
use crate::container::{self, ContainerId, CreateOptions, Document, ExecOptions, Globals};
use crate::sys::spawn::Spawned;

/// What a thread has made.
pub struct Made {
    pub process: Spawned,
    pub streams: Streams,
    pub relay: Option<Relay>,
    pub ends_with_init: bool,
    pub oom: Option<OomNotice>,
}

/// What a thread makes a process of.
pub struct Making<'a> {
    pub id: &'a ContainerId,
    pub globals: &'a Globals,
    pub options: &'a Options,
    pub namespace: &'a str,
    pub io: &'a TaskIo,
}

impl Making<'_> {
    fn prepare(&self) -> Result<Prepared> {
        let owner = (self.options.io_uid, self.options.io_gid);
        stdio::prepare(self.io, &Whose { id: self.id.as_str(), namespace: self.namespace, owner })
    }

    pub fn create(&self, request: &CreateRequest) -> Result<Made> {
        let bundle = Path::new(&request.bundle);
        self.options.remember(bundle)?;
        let mounts: &[Mount] = &request.rootfs;
        rootfs::mount_all(bundle, mounts)?;
        self.create_in(bundle).inspect_err(|_| {
            if !mounts.is_empty() {
                rootfs::unmount(bundle);
            }
        })
    }

    fn create_in(&self, bundle: &Path) -> Result<Made> {
        let prepared = self.prepare()?;
        let options = CreateOptions {
            bundle: bundle.to_owned(),
            console: prepared.console.clone(),
            stdio: prepared.stdio.clone(),
            no_pivot: self.options.no_pivot_root,
            no_new_keyring: self.options.no_new_keyring,
            ..CreateOptions::default()
        };
        let made = container::create(self.globals, self.id, &options)?;
        drop(options);
        let begun = prepared.begin().inspect_err(|_| {
            if let Err(error) = container::delete(self.globals, self.id, true) {
                log::warn!("{}: {error}", self.id);
            }
        });
        let (streams, relay) = begun?;
        // Without the memory controller nobody tells of it.
        let notice = made.place.as_ref().map(Place::notice_oom).transpose();
        let oom = notice.inspect_err(|error| log::debug!("{}: {error}", self.id)).unwrap_or_default();
        Ok(Made { process: made.init, streams, relay, ends_with_init: made.ends_with_init, oom })
    }

    pub fn exec(&self, document: String) -> Result<Made> {
        let prepared = self.prepare()?;
        let options = ExecOptions {
            process: Some(Document::Text(document)),
            console: prepared.console.clone(),
            stdio: prepared.stdio.clone(),
            detach: true,
            ..ExecOptions::default()
        };
        let process = container::exec_detached(self.globals, self.id, &options)?;
        drop(options);
        let (streams, relay) = prepared.begin()?;
        Ok(Made { process, streams, relay, ends_with_init: false, oom: None })
    }
}
