//! The pictures of docs/benchmarks/ match their data and the code that draws them.

use std::path::Path;
use std::process::Command;

use crate::kit::{has_tool, run};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

#[test]
fn bars_are_drawn_from_the_saved_results() {
    if !has_tool("python3", "bars_are_drawn_from_the_saved_results") {
        return;
    }
    for (picture, data, draw) in [
        ("ratios.svg", "results.json", "report.ratios_svg"),
        ("native.svg", "native.json", "native.svg"),
    ] {
        let folder = Path::new(ROOT).join("docs/benchmarks");
        let program = format!(
            "import json, sys; from harness import native, report; \
             sys.stdout.buffer.write({draw}(json.load(open(sys.argv[1]))).encode())"
        );
        let mut python = Command::new("python3");
        python.current_dir(Path::new(ROOT).join("benches")).args(["-B", "-c", &program]);
        let drawn = run(python.arg(folder.join(data))).expect_code(0).stdout;
        let kept = std::fs::read_to_string(folder.join(picture)).unwrap();
        assert!(drawn == kept, "{picture} is not what {draw} makes of {data}: write it anew");
        for words in ["faster", "slower", "(logarithmic)", "range of all rounds"] {
            assert!(kept.contains(words), "{picture}: {words}");
        }
    }
}

#[test]
fn latencies_have_axes_with_titles_and_lines_with_markers() {
    for picture in ["latency-tcp-1", "latency-tcp-50", "latency-udp-1", "native-tcp-1"] {
        let path = format!("{ROOT}/docs/benchmarks/{picture}.svg");
        let svg = std::fs::read_to_string(path).unwrap();
        for words in ["latency (logarithmic); lower is better", "percentile: share", " rounds of "]
        {
            assert!(svg.contains(words), "{picture}: {words}");
        }
        let lines = svg.matches("<polyline").count();
        assert_eq!(svg.matches("<path").count(), 6 * lines, "{picture}: five and the legend's");
    }
}
