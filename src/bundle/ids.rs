//! linux.uidMappings and gidMappings: config-linux.md, "User namespace mappings"; user_namespaces(7).

use oci_spec::runtime::LinuxIdMapping;

use crate::{Error, Result};

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
}
