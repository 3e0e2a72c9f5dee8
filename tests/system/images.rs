//! The container images, built from the Containerfile once for each test run.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use crate::kit::{Why, bed_script, not_run, run_bed};

static BUILT: LazyLock<Result<PathBuf, Why>> = LazyLock::new(|| {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("system");
    run_bed(bed_script("images").arg(&dir)).map(|_| dir)
});

/// The folder with the images and the static program, or the reason why there is none.
pub(crate) fn built() -> Result<&'static Path, Why> {
    BUILT.as_deref().map_err(Clone::clone)
}

/// Nothing but the program, so nothing but its size.
#[test]
fn the_minimal_image_is_under_4_mb() {
    let dir = match built() {
        Ok(dir) => dir,
        Err(why) => return not_run("the size of the minimal image", &why),
    };
    let text = std::fs::read_to_string(dir.join("images.json")).expect("images.json is written");
    let sizes: serde_json::Value = serde_json::from_str(&text).expect("images.json is JSON");
    let minimal = sizes["socket-activate-echo"].as_u64().expect("the minimal image is listed");
    assert!(minimal < 4_000_000, "the minimal image has {minimal} bytes\n{text}");
}
