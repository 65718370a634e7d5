//! What `events` shows of a group, with runc's names.

use std::fs;

use serde_json::{Map, Value, json};

use super::Group;
use crate::{Context, Result};

/// Files of info/L3, and whether each holds a number.
const CACHE: [(&str, bool); 3] = [("cbm_mask", false), ("min_cbm_bits", true), ("num_closids", true)];
/// Those of info/MB.
const BANDWIDTH: [(&str, bool); 4] =
    [("bandwidth_gran", true), ("delay_linear", true), ("min_bandwidth", true), ("num_closids", true)];

impl Group {
    /// The schemata of the group and of the root, what the processor offers, and the monitor's counters where there is one.
    ///
    /// # Errors
    /// When the group has been removed.
    pub fn stats(&self) -> Result<Value> {
        let mut stats = Map::new();
        let root = Self { root: self.root.clone(), dir: self.root.clone(), monitor: None };
        let (of_root, own) = (root.schemata()?, self.schemata()?);
        let line = |lines: &[String], name: &str| lines.iter().find(|line| line.starts_with(name)).cloned();
        for (resource, name, files) in [("L3", "l3_cache", &CACHE[..]), ("MB", "mem_bw", &BANDWIDTH[..])] {
            let Some(info) = info(&format!("{}/info/{resource}", self.root), files) else { continue };
            stats.insert(format!("{name}_info"), info);
            for (kind, line) in [("schema_root", line(&of_root, resource)), ("schema", line(&own, resource))] {
                stats.extend(line.map(|line| (format!("{name}_{kind}"), line.into())));
            }
        }
        self.monitored(&mut stats)?;
        Ok(Value::Object(stats))
    }

    /// One entry for each domain (a cache, a node of memory), in the order of their names.
    fn monitored(&self, stats: &mut Map<String, Value>) -> Result<()> {
        let dir = format!("{}/mon_data", self.monitor.as_ref().unwrap_or(&self.dir));
        if !std::path::Path::new(&dir).exists() {
            return Ok(());
        }
        let mut domains = Vec::new();
        for entry in fs::read_dir(&dir).context(|| format!("read {dir}"))?.flatten() {
            if entry.file_name().to_string_lossy().starts_with("mon_L3_") {
                domains.push(entry.path());
            }
        }
        domains.sort();
        let (mut bandwidth, mut occupancy) = (Vec::new(), Vec::new());
        for domain in domains {
            let count = |name: &str| number(&domain.join(name).to_string_lossy());
            let (total, local) = (count("mbm_total_bytes"), count("mbm_local_bytes"));
            if total.is_some() || local.is_some() {
                bandwidth.push(json!({"mbm_total_bytes": total.unwrap_or(0), "mbm_local_bytes": local.unwrap_or(0)}));
            }
            occupancy.extend(count("llc_occupancy").map(|bytes| json!({"llc_occupancy": bytes})));
        }
        for (name, list) in [("mbm_stats", bandwidth), ("cmt_stats", occupancy)] {
            if !list.is_empty() {
                stats.insert(name.to_owned(), list.into());
            }
        }
        Ok(())
    }
}

/// None for a resource that this processor does not have. What is zero is left out, as with runc.
fn info(dir: &str, files: &[(&str, bool)]) -> Option<Value> {
    if !std::path::Path::new(dir).exists() {
        return None;
    }
    let read = |(name, is_number): &(&str, bool)| {
        let path = format!("{dir}/{name}");
        let value = match is_number {
            true => number(&path).filter(|n| *n != 0)?.into(),
            false => fs::read_to_string(path).ok()?.trim().into(),
        };
        Some(((*name).to_owned(), value))
    };
    Some(Value::Object(files.iter().filter_map(read).collect()))
}

/// None where there is no number, such as "Unavailable".
fn number(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_there_is_is_shown_with_runcs_names() {
        let root = std::env::temp_dir().join(format!("nfrun-unit-{}-resctrl-stats", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        for (path, text) in [
            ("schemata", "    L3:0=fffff\n    MB:0=100\n"),
            ("gold/schemata", "    L3:0=000ff\n    MB:0=50\n"),
            ("info/L3/cbm_mask", "fffff\n"),
            ("info/L3/min_cbm_bits", "1\n"),
            ("info/L3/num_closids", "16\n"),
            ("gold/mon_groups/c1/mon_data/mon_L3_00/mbm_total_bytes", "9\n"),
            ("gold/mon_groups/c1/mon_data/mon_L3_00/mbm_local_bytes", "Unavailable\n"),
            ("gold/mon_groups/c1/mon_data/mon_L3_00/llc_occupancy", "4096\n"),
        ] {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let dir = format!("{}/gold", root.display());
        let monitor = Some(format!("{dir}/mon_groups/c1"));
        let stats = Group { root: root.to_str().unwrap().into(), dir, monitor }.stats().unwrap();
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(
            stats,
            json!({
                "l3_cache_info": {"cbm_mask": "fffff", "min_cbm_bits": 1, "num_closids": 16},
                "l3_cache_schema_root": "L3:0=fffff",
                "l3_cache_schema": "L3:0=000ff",
                "mbm_stats": [{"mbm_total_bytes": 9, "mbm_local_bytes": 0}],
                "cmt_stats": [{"llc_occupancy": 4096}],
            })
        );
    }
}
