//! The published schema of the specification: its good documents are accepted, its bad ones refused, and `state` fits.

#[macro_use]
mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::*;

/// The schema folder: `$SHARED/oci-runtime-spec/schema`, or beside this repository.
fn schema() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let shared = std::env::var_os("SHARED").map_or(beside, PathBuf::from);
    Some(shared.join("oci-runtime-spec/schema")).filter(|dir| dir.is_dir())
}

fn documents(dir: &Path) -> Vec<PathBuf> {
    let mut found: Vec<_> = fs::read_dir(dir).expect("documents").flatten().map(|entry| entry.path()).collect();
    found.sort();
    assert!(!found.is_empty(), "no document in {}", dir.display());
    found
}

/// `plan --no-host` of a document, which is all that the bundle holds.
fn plan(document: &Path) -> Output {
    let c = Container::idle();
    fs::remove_dir_all(c.rootfs("")).unwrap();
    fs::copy(document, c.bundle.join("config.json")).unwrap();
    let before = c.leftovers();
    let output = c.runtime(&["plan", "--no-host", "--bundle", "bundle", &c.id]);
    before.assert_nothing_new();
    output
}

#[test]
fn every_good_document_for_linux_is_accepted_by_plan() {
    not_in_runc!("it has no plan");
    let Some(schema) = schema() else { skip!("no ../shared/oci-runtime-spec/schema and no SHARED") };
    for document in documents(&schema.join("test/config/good")) {
        let name = document.file_name().unwrap().to_str().unwrap().to_owned();
        if name.starts_with("freebsd-") || name.starts_with("zos-") {
            continue;
        }
        let output = plan(&document);
        assert!(output.code == 0 && !output.stdout.trim().is_empty(), "{name}: {output:?}");
    }
}

#[test]
fn every_bad_document_is_refused_with_a_reason() {
    not_in_runc!("it has no plan");
    let Some(schema) = schema() else { skip!("no ../shared/oci-runtime-spec/schema and no SHARED") };
    for document in documents(&schema.join("test/config/bad")) {
        let output = plan(&document);
        assert!(output.code == 1 && !output.stderr.trim().is_empty(), "{}: {output:?}", document.display());
    }
}

#[test]
fn the_plan_as_json_is_one_document_and_touches_nothing() {
    not_in_runc!("it has no plan");
    let c = Container::idle();
    let before = c.leftovers();
    let output = c.runtime(&["plan", "--format", "json", "--bundle", "bundle", &c.id]);
    serde_json::from_str::<Value>(output.ok()).expect("JSON");
    assert!(!c.root.exists(), "plan made the state root");
    before.assert_nothing_new();
}

#[test]
fn state_validates_against_its_schema_in_every_state() {
    let Some(schema) = schema() else { skip!("no ../shared/oci-runtime-spec/schema and no SHARED") };
    let c = Container::idle().with(|config| config["annotations"] = json!({"org.example.key": "value"}));
    c.create();
    check(&schema, &c.state());
    c.start();
    check(&schema, &c.state());
    c.kill("KILL");
    check(&schema, &c.state());
}

#[test]
fn the_validator_refuses_what_the_schema_does() {
    let Some(schema) = schema() else { skip!("no ../shared/oci-runtime-spec/schema and no SHARED") };
    let good = json!({"ociVersion": "1.0.2", "id": "a", "status": "running", "pid": 5, "bundle": "/b"});
    let errors =
        |value: &Value| violations(&schema, "state-schema.json", &read(&schema, "state-schema.json"), value, "state");
    assert_eq!(errors(&good), Vec::<String>::new());
    for (field, wrong) in
        [("ociVersion", json!(1)), ("status", json!("dancing")), ("pid", json!(-1)), ("annotations", json!({"a": 1}))]
    {
        let mut bad = good.clone();
        bad[field] = wrong;
        assert_ne!(errors(&bad), Vec::<String>::new(), "{bad}");
    }
    assert_ne!(errors(&json!({"id": "a"})), Vec::<String>::new());
}

/// features-schema.json, which has no field for what 1.3 added beside it, and so does not mind.
#[test]
fn the_features_document_fits_the_schema() {
    let Some(schema) = schema() else { skip!("no ../shared/oci-runtime-spec/schema and no SHARED") };
    let features: Value = serde_json::from_str(Container::idle().runtime(&["features"]).ok()).expect("JSON");
    let rule = read(&schema, "features-schema.json");
    let errors = |value: &Value| violations(&schema, "features-schema.json", &rule, value, "features");
    assert_eq!(errors(&features), Vec::<String>::new(), "{features:#}");
    for (pointer, wrong) in [
        ("/ociVersionMax", json!(1)),
        ("/hooks", json!([1])),
        ("/linux/capabilities/0", json!("chown")),
        ("/linux/namespaces/0", json!("nothing")),
        ("/linux/cgroup/v1", json!("yes")),
    ] {
        let mut bad = features.clone();
        *bad.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}")) = wrong;
        assert_ne!(errors(&bad), Vec::<String>::new(), "{pointer}");
    }
    for (folder, fits) in [("good", true), ("bad", false)] {
        for document in documents(&schema.join("test/features").join(folder)) {
            let value: Value = serde_json::from_slice(&fs::read(&document).unwrap()).expect("JSON");
            assert_eq!(errors(&value).is_empty(), fits, "{}: {:?}", document.display(), errors(&value));
        }
    }
}

#[track_caller]
fn check(schema: &Path, state: &Value) {
    let errors = violations(schema, "state-schema.json", &read(schema, "state-schema.json"), state, "state");
    assert!(errors.is_empty(), "{errors:#?} in {state:#}");
}

fn read(schema: &Path, file: &str) -> Value {
    let path = schema.join(file);
    let text = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The part of JSON Schema that the state's schema uses, and a panic on any other.
fn violations(schema: &Path, file: &str, rule: &Value, value: &Value, at: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (word, given) in rule.as_object().expect("a schema is an object") {
        let wrong = match word.as_str() {
            "description" | "$schema" | "definitions" | "patternProperties" | "properties" => false,
            "$ref" => {
                let (other, pointer) = given.as_str().unwrap().split_once('#').unwrap();
                let other = if other.is_empty() { file } else { other };
                let target = read(schema, other).pointer(pointer).expect("a definition").clone();
                found.extend(violations(schema, other, &target, value, at));
                false
            }
            "type" => match given.as_str().unwrap() {
                "object" => !value.is_object(),
                "string" => !value.is_string(),
                "integer" => value.as_i64().is_none(),
                "boolean" => !value.is_boolean(),
                "array" => !value.is_array(),
                other => panic!("the validator lacks type {other}"),
            },
            "items" => {
                for (i, item) in value.as_array().into_iter().flatten().enumerate() {
                    found.extend(violations(schema, file, given, item, &format!("{at}[{i}]")));
                }
                false
            }
            // The one pattern in use is that of a capability's name.
            "pattern" => {
                assert_eq!(given, "^CAP_[A-Z_]+$", "the validator lacks other patterns");
                let name = value.as_str().and_then(|text| text.strip_prefix("CAP_")).unwrap_or_default();
                name.is_empty() || !name.chars().all(|c| c.is_ascii_uppercase() || c == '_')
            }
            "enum" => !given.as_array().unwrap().contains(value),
            "minimum" => value.as_i64() < given.as_i64(),
            "required" => given.as_array().unwrap().iter().any(|name| value.get(name.as_str().unwrap()).is_none()),
            other => panic!("the validator lacks {other}"),
        };
        if wrong {
            found.push(format!("{at}: {word} {given}"));
        }
    }
    for (name, member) in value.as_object().into_iter().flatten() {
        if let Some(part) = rule.get("properties").and_then(|properties| properties.get(name)) {
            found.extend(violations(schema, file, part, member, &format!("{at}.{name}")));
        }
        // The one pattern in use, `.{1,}`, is any name.
        for part in
            rule.get("patternProperties").and_then(Value::as_object).into_iter().flat_map(|parts| parts.values())
        {
            found.extend(violations(schema, file, part, member, &format!("{at}.{name}")));
        }
    }
    found
}
