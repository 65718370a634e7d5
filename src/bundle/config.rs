//! Reading config.json, more strictly than oci-spec does: config.md, and the published schema.

use std::borrow::Cow;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{ExecCPUAffinity, Spec};
use serde::Deserialize;
use serde_json::Value;

use super::json_path;
use crate::{Context, Error, Result};

/// The most that a config.json may have. Engines write some 10 kB; one of this size is a mistake or an attack.
const MOST_BYTES: u64 = 16 << 20;

/// What the specification calls REQUIRED and oci-spec takes as zero, by the place of the objects (`/*`: of each in the list).
const REQUIRED: [(&str, &[&str]); 13] = [
    ("/process/rlimits/*", &["type", "soft", "hard"]),
    ("/process/consoleSize", &["height", "width"]),
    ("/process/ioPriority", &["class"]),
    ("/linux/uidMappings/*", &["containerID", "hostID", "size"]),
    ("/linux/gidMappings/*", &["containerID", "hostID", "size"]),
    ("/linux/resources/devices/*", &["allow"]),
    ("/linux/resources/hugepageLimits/*", &["pageSize", "limit"]),
    ("/linux/resources/network/priorities/*", &["name", "priority"]),
    ("/linux/resources/blockIO/weightDevice/*", &["major", "minor"]),
    ("/linux/resources/blockIO/throttleReadBpsDevice/*", &["major", "minor", "rate"]),
    ("/linux/resources/blockIO/throttleWriteBpsDevice/*", &["major", "minor", "rate"]),
    ("/linux/resources/blockIO/throttleReadIOPSDevice/*", &["major", "minor", "rate"]),
    ("/linux/resources/blockIO/throttleWriteIOPSDevice/*", &["major", "minor", "rate"]),
];

/// A bundle's configuration.
#[derive(Debug)]
pub struct Config {
    /// The bundle's absolute path, links resolved.
    pub bundle: PathBuf,
    /// The document as it was read.
    pub text: String,
    /// What it says.
    pub spec: Spec,
}

impl Config {
    /// Reads a bundle's config.json.
    pub fn load(bundle: &Path) -> Result<Self> {
        let absolute = std::fs::canonicalize(bundle).context(|| format!("bundle {}", bundle.display()))?;
        let path = absolute.join("config.json");
        let text = read_bounded(&path).map_err(|error| match error.errno() {
            Some(libc::ENOENT) => Error::invalid(format!(
                "JSON specification file config.json not found in {}: {error} (make one with `spec`, or name the bundle with --bundle)",
                absolute.display()
            )),
            _ => error.context(path.display()),
        })?;
        let spec = parse(&text).map_err(|error| error.context(path.display()))?;
        Ok(Self { bundle: absolute, text, spec })
    }
}

fn read_bounded(path: &Path) -> Result<String> {
    // A FIFO in the file's place must not hold the command up.
    let options = &mut std::fs::OpenOptions::new();
    let file = options.read(true).custom_flags(libc::O_NONBLOCK).open(path).context(|| "open")?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(Error::invalid("is not a regular file"));
    }
    let length = found.len();
    let too_long =
        || Error::invalid(format!("is larger than {} MiB: this is no container's configuration", MOST_BYTES >> 20));
    if length > MOST_BYTES {
        return Err(too_long());
    }
    let mut text = String::with_capacity(length as usize + 1);
    file.take(MOST_BYTES + 1).read_to_string(&mut text).context(|| "read")?;
    if text.len() as u64 > MOST_BYTES {
        return Err(too_long());
    }
    Ok(text)
}

/// Parses a config.json's text. Errors name the field.
pub fn parse(text: &str) -> Result<Spec> {
    if text.trim().is_empty() {
        return Err(Error::invalid("is empty (EOF): it must hold a JSON object"));
    }
    let mut document: Value = serde_json::from_str(text).map_err(|error| Error::invalid(error.to_string()))?;
    let changed = check(&mut document)?;
    let process = document.get_mut("process");
    let affinity = take_affinity(process)?;
    let changed = changed || affinity.is_some();
    let mut spec: Spec = read_text(&if changed { document.to_string().into() } else { Cow::Borrowed(text) }, "")?;
    if let (Some(affinity), Some(process)) = (affinity, spec.process_mut()) {
        process.set_exec_cpu_affinity(Some(affinity));
    }
    Ok(spec)
}

/// Parses a process document, as `exec --process` takes.
pub fn parse_process(text: &str) -> Result<oci_spec::runtime::Process> {
    let mut document: Value = serde_json::from_str(text).map_err(|error| Error::invalid(error.to_string()))?;
    check_required(&document, "/process")?;
    drop_unknown_capabilities(document.pointer_mut("/capabilities"));
    name_scheduler_flags(&mut document);
    complete_process(Some(&mut document));
    let affinity = take_affinity(Some(&mut document))?;
    let mut process: oci_spec::runtime::Process = read_text(&document.to_string(), "process")?;
    if affinity.is_some() {
        process.set_exec_cpu_affinity(affinity);
    }
    Ok(process)
}

/// Parses a document of resources, as `update --resources` takes; it looks like config.json's `linux.resources`. Also
/// what it was read from, for what is remembered of it.
pub fn parse_resources(text: &str) -> Result<(oci_spec::runtime::LinuxResources, Value)> {
    let mut document: Value = serde_json::from_str(text).map_err(|error| Error::invalid(error.to_string()))?;
    if !document.is_object() {
        return Err(Error::invalid("must hold a JSON object such as {\"memory\": {\"limit\": 67108864}}"));
    }
    check_required(&document, "/linux/resources")?;
    check_hugepages(document.get("hugepageLimits"))?;
    drop_empty_pids(Some(&mut document));
    Ok((read_text(&document.to_string(), "")?, document))
}

/// Reads text as what it should be. The place of an error becomes the path of the field.
fn read_text<'a, T: Deserialize<'a>>(text: &'a str, prefix: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| {
        let path = json_path::at(text, error.line(), error.column());
        let dot = if prefix.is_empty() || path.is_empty() { "" } else { "." };
        let cause = error.to_string();
        let cause = cause.split(" at line ").next().unwrap_or_default();
        let path = format!("{prefix}{dot}{path}");
        Error::invalid(if path.is_empty() { cause.to_owned() } else { format!("{path}: {cause}") })
    })
}

/// What oci-spec lets pass, or refuses though runc takes it. Whether the document was changed for that.
fn check(document: &mut Value) -> Result<bool> {
    let Some(object) = document.as_object() else {
        return Err(Error::invalid("must hold a JSON object"));
    };
    check_version(object.get("ociVersion"))?;
    for foreign in ["solaris", "windows", "vm", "zos", "freebsd"] {
        if object.get(foreign).is_some_and(|value| !value.is_null()) {
            return Err(Error::invalid(format!("{foreign}: this configuration is for another platform than Linux")));
        }
    }
    if object.get("annotations").and_then(Value::as_object).is_some_and(|named| named.contains_key("")) {
        return Err(Error::invalid("annotations: a name must not be empty: name it or remove it"));
    }
    check_required(document, "")?;
    check_devices(document.pointer("/linux/devices"))?;
    check_hugepages(document.pointer("/linux/resources/hugepageLimits"))?;
    let unlimited = drop_empty_pids(document.pointer_mut("/linux/resources"));
    let dropped = drop_unknown_capabilities(document.pointer_mut("/process/capabilities"));
    let completed = complete_process(document.pointer_mut("/process"));
    let named = document.get_mut("process").is_some_and(name_scheduler_flags);
    let emptied = drop_empty_policy(document.get_mut("linux"));
    Ok(unlimited || dropped || completed || named || emptied)
}

/// runc takes a memory policy that says nothing for none.
fn drop_empty_policy(linux: Option<&mut Value>) -> bool {
    let Some(Value::Object(linux)) = linux else { return false };
    let empty = linux.get("memoryPolicy").and_then(Value::as_object).is_some_and(serde_json::Map::is_empty);
    empty && linux.remove("memoryPolicy").is_some()
}

/// Two of the scheduler's flags have other names in oci-spec than in the specification. Whether any was changed.
fn name_scheduler_flags(process: &mut Value) -> bool {
    let mut changed = false;
    for flag in process.pointer_mut("/scheduler/flags").and_then(Value::as_array_mut).into_iter().flatten() {
        let name = match flag.as_str() {
            Some("SCHED_FLAG_RESET_ON_FORK") => "SCHED_RESET_ON_FORK",
            Some("SCHED_FLAG_DL_OVERRUN") => "SCHED_FLAG_D_L_OVERRUN",
            _ => continue,
        };
        *flag = name.into();
        changed = true;
    }
    changed
}

/// Takes execCPUAffinity out of a process: oci-spec reads it with a regular expression that refuses an empty list and
/// spaces, which the schema allows.
fn take_affinity(process: Option<&mut Value>) -> Result<Option<ExecCPUAffinity>> {
    let Some(Value::Object(process)) = process else { return Ok(None) };
    let given = match process.remove("execCPUAffinity") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Object(given)) => given,
        Some(other) => return Err(Error::invalid(format!("process.execCPUAffinity: {other} is no object"))),
    };
    let list = |field: &str| match given.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(list)) => Ok(Some(list.clone())),
        Some(other) => {
            Err(Error::invalid(format!("process.execCPUAffinity.{field}: {other} is not text such as \"0-3,7\"")))
        }
    };
    let mut affinity = ExecCPUAffinity::default();
    affinity.set_initial(list("initial")?).set_cpu_affinity_final(list("final")?);
    Ok(Some(affinity))
}

fn check_version(version: Option<&Value>) -> Result<()> {
    let Some(version) = version else {
        return Err(Error::invalid("ociVersion: is missing; write \"1.3.0\" or the version that the bundle follows"));
    };
    let Some(text) = version.as_str() else {
        return Err(Error::invalid(format!("ociVersion: {version} is not text such as \"1.3.0\"")));
    };
    match major_of(text) {
        Some("0" | "1") => Ok(()),
        Some(major) => {
            Err(Error::invalid(format!("ociVersion: {text}: version {major} is not known; nfrun knows up to 1.3")))
        }
        None => Err(Error::invalid(format!("ociVersion: {text:?} is not a version such as \"1.3.0\""))),
    }
}

/// The major number of a semantic version 2.0.0; None of any other text.
fn major_of(text: &str) -> Option<&str> {
    let (text, build) = text.split_once('+').map_or((text, None), |(text, build)| (text, Some(build)));
    let (core, pre) = text.split_once('-').map_or((text, None), |(core, pre)| (core, Some(pre)));
    let word = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let digits = |word: &str| word.bytes().all(|byte| byte.is_ascii_digit());
    let plain = |number: &str| number == "0" || !number.starts_with('0');
    let numbers: Vec<_> = core.split('.').collect();
    let right = numbers.len() == 3
        && numbers.iter().all(|number| word(number) && digits(number) && plain(number))
        && pre.is_none_or(|pre| pre.split('.').all(|part| word(part) && (!digits(part) || plain(part))))
        && build.is_none_or(|build| build.split('.').all(word));
    right.then(|| numbers[0])
}

/// Asks for what is required of the objects below `root`, which is where the document itself stands.
fn check_required(document: &Value, root: &str) -> Result<()> {
    for (place, fields) in REQUIRED {
        let Some(pointer) = place.strip_prefix(root) else { continue };
        let Some(found) = document.pointer(pointer.trim_end_matches("/*")) else { continue };
        let listed = place.ends_with("/*");
        let objects =
            if listed { found.as_array().map_or(&[][..], Vec::as_slice) } else { std::slice::from_ref(found) };
        for (i, object) in objects.iter().enumerate() {
            let Some(object) = object.as_object() else { continue };
            if let Some(missing) = fields.iter().find(|field| object.get(**field).is_none_or(Value::is_null)) {
                let place = place.trim_end_matches("/*").trim_start_matches('/').replace('/', ".");
                let index = if listed { format!("[{i}]") } else { String::new() };
                return Err(Error::invalid(format!("{place}{index}.{missing}: is missing")));
            }
        }
    }
    Ok(())
}

/// A device has a number, a FIFO has none: config-linux.md, "Devices".
fn check_devices(devices: Option<&Value>) -> Result<()> {
    for (i, device) in devices.and_then(Value::as_array).into_iter().flatten().enumerate() {
        let numbered = device.get("type").and_then(Value::as_str).is_some_and(|kind| kind != "p");
        for field in ["major", "minor"] {
            if numbered && device.get(field).is_none_or(Value::is_null) {
                return Err(Error::invalid(format!("linux.devices[{i}].{field}: is missing")));
            }
        }
    }
    Ok(())
}

/// Go's bindings write an object without a limit for one that is not set; oci-spec would take it as a limit of 0.
fn drop_empty_pids(resources: Option<&mut Value>) -> bool {
    let Some(Value::Object(resources)) = resources else { return false };
    let empty = |pids: &Value| pids.as_object().is_some_and(|pids| pids.get("limit").is_none_or(Value::is_null));
    resources.get("pids").is_some_and(empty) && resources.remove("pids").is_some()
}

/// pageSize is a number and KB, MB or GB: config-linux.md, "Huge page limits".
fn check_hugepages(limits: Option<&Value>) -> Result<()> {
    for (i, limit) in limits.and_then(Value::as_array).into_iter().flatten().enumerate() {
        let size = limit.get("pageSize").and_then(Value::as_str).unwrap_or_default();
        let number = ["KB", "MB", "GB"].iter().find_map(|unit| size.strip_suffix(unit)).unwrap_or_default();
        let valid = number.bytes().all(|byte| byte.is_ascii_digit()) && !number.is_empty() && !number.starts_with('0');
        if !valid {
            return Err(Error::invalid(format!(
                "linux.resources.hugepageLimits[{i}].pageSize: {size:?} is not a size such as 2MB, 64KB or 1GB"
            )));
        }
    }
    Ok(())
}

/// What runc takes as zero where it is missing: root as user, and a cwd that is refused by name later.
fn complete_process(process: Option<&mut Value>) -> bool {
    let Some(Value::Object(process)) = process else { return false };
    let has =
        |value: Option<&Value>, names: &[&str]| names.iter().all(|name| value.is_some_and(|v| v.get(name).is_some()));
    if process.contains_key("cwd") && has(process.get("user"), &["uid", "gid"]) {
        return false;
    }
    let user = process.entry("user").or_insert_with(|| Value::Object(Default::default()));
    if let Value::Object(user) = user {
        user.entry("uid").or_insert(0.into());
        user.entry("gid").or_insert(0.into());
    }
    process.entry("cwd").or_insert("".into());
    true
}

/// A capability that is not known is a newer kernel's: runc warns and goes on.
fn drop_unknown_capabilities(sets: Option<&mut Value>) -> bool {
    let Some(Value::Object(sets)) = sets else { return false };
    let mut dropped = false;
    for (name, set) in sets {
        let Some(list) = set.as_array_mut() else { continue };
        list.retain(|capability| match capability.as_str() {
            Some(text) if crate::init::capabilities::plan::number(text).is_none() => {
                log::warn!("process.capabilities.{name}: unknown capability {text:?} left out");
                dropped = true;
                false
            }
            _ => true,
        });
    }
    dropped
}

/// Takes out of `linux.resources` the numbers that its writers leave out as 0, and the lists that they leave out as "".
pub fn drop_zeros(resources: &mut Value) {
    const ZERO_IS_ABSENT: [(&str, &[&str]); 3] = [
        ("memory", &["limit", "reservation", "swap"]),
        ("cpu", &["shares", "quota", "period", "realtimeRuntime", "realtimePeriod", "cpus", "mems"]),
        ("blockIO", &["weight", "leafWeight"]),
    ];
    for (family, names) in ZERO_IS_ABSENT {
        if let Some(Value::Object(members)) = resources.get_mut(family) {
            members.retain(|name, value| {
                let nothing = value.as_f64() == Some(0.0) || value.as_str() == Some("");
                !(names.contains(&name.as_str()) && nothing)
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        parse(text).unwrap_err().to_string()
    }

    #[test]
    fn errors_name_the_field() {
        let base = |linux: &str| format!(r#"{{"ociVersion":"1.0.0","root":{{"path":"r"}},"linux":{linux}}}"#);
        assert!(
            refused(&base(r#"{"resources":{"pids":{"limit":"many"}}}"#)).starts_with("linux.resources.pids.limit: ")
        );
        assert!(refused(&base(r#"{"namespaces":[{"type":"nothing"}]}"#)).starts_with("linux.namespaces[0].type: "));
        assert!(
            refused(&base(r#"{"resources":{"hugepageLimits":[{"pageSize":"64kB","limit":1}]}}"#))
                .contains("hugepageLimits[0].pageSize")
        );
    }

    #[test]
    fn what_is_required_is_asked_for_at_its_place() {
        let base = |linux: &str| format!(r#"{{"ociVersion":"1.0.0","root":{{"path":"r"}},"linux":{linux}}}"#);
        for (linux, words) in [
            (
                r#"{"uidMappings":[{"containerID":0,"hostID":0,"size":1},{"size":1,"containerID":1}]}"#,
                "linux.uidMappings[1].hostID",
            ),
            (r#"{"resources":{"hugepageLimits":[{"pageSize":"2MB"}]}}"#, "linux.resources.hugepageLimits[0].limit"),
            (r#"{"devices":[{"path":"/p","type":"p"},{"path":"/c","type":"c","major":1}]}"#, "linux.devices[1].minor"),
        ] {
            assert_eq!(refused(&base(linux)), format!("{words}: is missing"));
        }
        assert_eq!(
            parse_process(r#"{"cwd":"/","consoleSize":{"height":1}}"#).unwrap_err().to_string(),
            "process.consoleSize.width: is missing"
        );
        let spec = parse(&base(r#"{"resources":{"pids":{}}}"#)).unwrap();
        assert!(spec.linux().as_ref().unwrap().resources().as_ref().unwrap().pids().is_none());
    }

    #[test]
    fn a_missing_or_foreign_version_is_refused() {
        assert!(refused("{}").starts_with("ociVersion: is missing"));
        assert!(refused(r#"{"ociVersion":"2.0.0"}"#).contains("version 2 is not known"));
        assert!(refused(r#"{"ociVersion":1}"#).contains("ociVersion: 1 is not text"));
        assert!(refused("").contains("is empty"));
        for text in ["1.3", "1.3.0.0", "01.3.0", "1.3.0-", "1.3.0-rc..1", "1.3.0-01", "1.3.0+", "1.3.x", "v1.3.0", ""] {
            assert_eq!(major_of(text), None, "{text}");
        }
        for text in ["1.3.0", "1.0.2-dev", "1.0.0-rc.5+a.001-b", "1.0.0-rc5-dev"] {
            assert_eq!(major_of(text), Some("1"), "{text}");
        }
    }

    #[test]
    fn an_unknown_capability_is_left_out() {
        let text = r#"{"ociVersion":"1.0.0","process":{"user":{"uid":0,"gid":0},"cwd":"/","args":["a"],
            "capabilities":{"bounding":["CAP_KILL","CAP_FUTURE"]}}}"#;
        let spec = parse(text).unwrap();
        let sets = spec.process().as_ref().unwrap().capabilities().as_ref().unwrap();
        assert_eq!(sets.bounding().as_ref().unwrap().len(), 1);
    }

    #[test]
    fn no_limit_of_pids_is_no_limit_and_zero_is_one() {
        let limit = |pids: &str| {
            let text = format!(r#"{{"ociVersion":"1.3.0","linux":{{"resources":{{"pids":{pids}}}}}}}"#);
            let spec = parse(&text).unwrap();
            let resources = spec.linux().as_ref().unwrap().resources().as_ref().unwrap();
            resources.pids().map(|pids| pids.limit())
        };
        assert_eq!([limit("{}"), limit(r#"{"limit":null}"#), limit("null")], [None, None, None]);
        assert_eq!([limit(r#"{"limit":0}"#), limit(r#"{"limit":-1}"#)], [Some(0), Some(-1)]);
    }

    #[test]
    fn an_affinity_may_be_empty_or_hold_spaces_but_is_text() {
        let read = |affinity: &str| {
            let process = format!(r#"{{"args":["a"],"cwd":"/","execCPUAffinity":{affinity}}}"#);
            parse_process(&process).map(|process| process.exec_cpu_affinity().clone())
        };
        let given = read(r#"{"initial":"0, 2","final":""}"#).unwrap().unwrap();
        assert_eq!((given.initial().as_deref(), given.cpu_affinity_final().as_deref()), (Some("0, 2"), Some("")));
        assert_eq!(read("null").unwrap(), None);
        assert!(read(r#"{"final":3}"#).unwrap_err().to_string().starts_with("process.execCPUAffinity.final: 3"));
    }

    #[test]
    fn the_names_of_scheduler_flags_are_the_specifications() {
        let read = |flag: &str| {
            let scheduler = format!(r#"{{"policy":"SCHED_OTHER","flags":["{flag}"]}}"#);
            parse_process(&format!(r#"{{"args":["a"],"cwd":"/","scheduler":{scheduler}}}"#))
        };
        assert!(read("SCHED_FLAG_RESET_ON_FORK").is_ok() && read("SCHED_FLAG_DL_OVERRUN").is_ok());
        let error = read("SCHED_FLAG_SOMETHING").unwrap_err().to_string();
        assert!(error.starts_with("process.scheduler.flags[0]"), "{error}");
        let error = parse_process(r#"{"args":["a"],"cwd":"/","ioPriority":{"priority":1}}"#).unwrap_err().to_string();
        assert!(error.starts_with("process.ioPriority.class: is missing"), "{error}");
    }

    #[test]
    fn deep_nesting_is_an_error_and_no_overflow() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(refused(&format!(r#"{{"ociVersion":"1.0.0","annotations":{deep}}}"#)).contains("recursion limit"));
    }
}
