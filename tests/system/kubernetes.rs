//! The manifest of `kubernetes/` against the API's schema. The VM runs it with Podman.

use std::fs;
use std::path::PathBuf;

use crate::kit::{Output, Why, bed_script, not_run, run};

pub(crate) fn manifest() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("kubernetes/echo.yaml")
}

/// What the validator says, or the reason why it cannot be asked.
fn validated(file: &PathBuf) -> Result<Output, Why> {
    let output = run(bed_script("manifests").arg(file));
    let judged = format!("{}{}", output.stdout, output.stderr).contains("against version");
    if judged { Ok(output) } else { Err(Why::of(&output.stderr)) }
}

#[test]
fn the_manifest_meets_the_schema() {
    match validated(&manifest()) {
        Ok(output) => {
            output
                .ok()
                .said("passed for resource deployment/echo")
                .said("passed for resource service/echo");
        }
        Err(why) => not_run("the manifest against the schema of Kubernetes", &why),
    }
}

/// The check can fail: a misspelt key is found.
#[test]
fn a_misspelt_key_does_not_meet_the_schema() {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let file = directory.path().join("echo.yaml");
    let text = fs::read_to_string(manifest()).expect("the manifest is shipped");
    fs::write(&file, text.replace("readinessProbe", "readynessProbe")).expect("a copy");
    match validated(&file) {
        Ok(output) => {
            output.refused().said("readynessProbe");
        }
        Err(why) => not_run("a wrong manifest against the schema of Kubernetes", &why),
    }
}
