//! What the shim is, for people (`-version`) and for containerd (`-info`, since 2.0).

use std::collections::BTreeMap;

use prost::Message;

use super::messages::Any;
use super::messages::bootstrap::{RuntimeInfo, RuntimeVersion};
use super::{print, read_stdin};
use crate::Result;
use crate::bundle::features;

/// Mounts that containerd leaves to the shim, beside those of the kernel's own words: an annotation of containerd 2.2.
const ALLOWED_MOUNTS: (&str, &str) = ("containerd.io/runtime-allow-mounts", "bind,overlay,erofs,ext4,xfs,loop");

pub fn print_version() -> Result<()> {
    let commit = option_env!("NFRUN_COMMIT").unwrap_or("unknown");
    let text = format!("containerd-shim-nfrun-v2:\n  Version:  {}\n  Revision: {commit}\n", env!("CARGO_PKG_VERSION"));
    print(text.as_bytes())
}

/// The options that containerd writes to stdin are given back, as they were understood.
pub fn print_info() -> Result<()> {
    let given = read_stdin()?;
    let options = Any::decode(given.as_slice()).ok().filter(|any| !any.type_url.is_empty());
    super::options::Options::of(options.as_ref())?;
    let (annotation, mounts) = ALLOWED_MOUNTS;
    let info = RuntimeInfo {
        name: super::NAME.into(),
        version: Some(RuntimeVersion {
            version: env!("CARGO_PKG_VERSION").into(),
            revision: option_env!("NFRUN_COMMIT").unwrap_or("unknown").into(),
        }),
        options,
        features: Some(Any {
            type_url: "types.containerd.io/opencontainers/runtime-spec/1/features/Features".into(),
            value: serde_json::to_vec(&features::features())?,
        }),
        annotations: BTreeMap::from([(annotation.into(), mounts.into())]),
    };
    print(&info.encode_to_vec())
}
