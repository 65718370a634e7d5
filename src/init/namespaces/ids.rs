//! Id mappings of a user namespace or of a mount: config-linux.md, "User namespace mappings"; user_namespaces(7).

use oci_spec::runtime::LinuxIdMapping;
use serde::Serialize;

use crate::{Error, Result};

/// The text of /proc/PID/uid_map and gid_map.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct IdMaps {
    /// uid_map.
    pub uids: String,
    /// gid_map.
    pub gids: String,
}

impl std::fmt::Display for IdMaps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let line = |text: &str| text.trim_end().replace('\n', ", ");
        write!(f, "uids {}; gids {}", line(&self.uids), line(&self.gids))
    }
}

/// The text of /proc/PID/uid_map. Ranges that overlap, are empty or run over are refused by name.
pub fn map(field: &str, mappings: &[LinuxIdMapping]) -> Result<String> {
    let mut text = String::new();
    if mappings.len() > 340 {
        return Err(Error::invalid(format!("{field}: {} lines; the kernel takes at most 340", mappings.len())));
    }
    for (i, mapping) in mappings.iter().enumerate() {
        let (inside, outside, size) = (mapping.container_id(), mapping.host_id(), mapping.size());
        if size == 0 {
            return Err(Error::invalid(format!("{field}[{i}].size: must not be 0")));
        }
        if inside.checked_add(size - 1).is_none() || outside.checked_add(size - 1).is_none() {
            return Err(Error::invalid(format!("{field}[{i}]: runs over the last id, 4294967295")));
        }
        for (j, other) in mappings[..i].iter().enumerate() {
            let overlaps = |a: u32, b: u32| a <= b + (other.size() - 1) && b <= a + (size - 1);
            if overlaps(inside, other.container_id()) || overlaps(outside, other.host_id()) {
                return Err(Error::invalid(format!("{field}[{i}]: overlaps {field}[{j}]: an id can be mapped once")));
            }
        }
        text.push_str(&format!("{inside} {outside} {size}\n"));
    }
    Ok(text)
}

/// Whether a map's text is of the caller's own group and nothing else.
pub fn is_own_group(text: &str) -> bool {
    let mut words = text.split_whitespace().skip(1);
    let own = nix::unistd::getegid().to_string();
    (words.next(), words.next(), words.next()) == (Some(own.as_str()), Some("1"), None)
}

/// The host's id for one of the container's.
pub fn host_id(mappings: &[LinuxIdMapping], id: u32) -> Option<u32> {
    let holds = |mapping: &&LinuxIdMapping| is_mapped(std::slice::from_ref(*mapping), id);
    mappings.iter().find(holds).map(|mapping| mapping.host_id() + (id - mapping.container_id()))
}

/// Whether a host's id is one of the container's.
pub fn holds(mappings: &[LinuxIdMapping], host: u32) -> bool {
    mappings.iter().any(|mapping| host >= mapping.host_id() && host - mapping.host_id() < mapping.size())
}

/// Whether an id of the container is mapped.
pub fn is_mapped(mappings: &[LinuxIdMapping], id: u32) -> bool {
    mappings.iter().any(|mapping| id >= mapping.container_id() && id - mapping.container_id() < mapping.size())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map_of(json: &str) -> Result<String> {
        map("linux.uidMappings", &serde_json::from_str::<Vec<LinuxIdMapping>>(json).unwrap())
    }

    #[test]
    fn overlapping_ranges_are_refused() {
        let error = map_of(r#"[{"containerID":0,"hostID":100,"size":10},{"containerID":9,"hostID":200,"size":1}]"#);
        assert!(error.unwrap_err().to_string().contains("linux.uidMappings[1]: overlaps linux.uidMappings[0]"));
        assert!(map_of(r#"[{"containerID":4294967295,"hostID":0,"size":2}]"#).is_err());
    }

    #[test]
    fn ranges_become_lines() {
        assert_eq!(map_of(r#"[{"containerID":0,"hostID":1000,"size":5}]"#).unwrap(), "0 1000 5\n");
    }

    #[test]
    fn ones_own_group_is_a_single_id() {
        let own = nix::unistd::getegid();
        assert!(is_own_group(&format!("0 {own} 1\n")));
        assert!(!is_own_group(&format!("0 {own} 2\n")));
        assert!(!is_own_group(&format!("0 {own} 1\n1 100000 5\n")));
        assert!(!is_own_group(""));
    }

    #[test]
    fn an_id_of_the_container_has_one_of_the_host() {
        let list: Vec<LinuxIdMapping> = serde_json::from_str(
            r#"[{"containerID":0,"hostID":1000,"size":1},{"containerID":5,"hostID":70,"size":3}]"#,
        )
        .unwrap();
        assert_eq!([0, 1, 7, 8].map(|id| host_id(&list, id)), [Some(1000), None, Some(72), None]);
    }
}
