//! `compare`, in small: the real tool, PostgreSQL, service and echo.

use serde_json::Value;
use std::process::Command;

#[test]
fn a_quick_comparison_prints_one_object_and_finds_no_violation() {
    let output = Command::new(env!("CARGO_BIN_EXE_keypool-bench"))
        .args(["compare", "--quick", "--json", "--rounds", "1"])
        .args(["--packages", "32000", "--within", "1s"])
        .output()
        .expect("the tool runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");

    let found: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!(found["violations"], 0, "{errors}");
    let rate = |value: &Value| value.as_f64().is_some_and(|rate| rate > 0.0);
    for in_flight in ["1", "256"] {
        for subject in ["echo", "single_statement", "delete_on_read", "keypool"] {
            assert!(rate(&found["in_flight"][in_flight][subject]), "{subject}: {found}");
        }
    }
    assert!(rate(&found["batch_100"]), "{found}");
    assert!(found["details"]["checked_reserves"].as_u64() > Some(0), "{found}");
}
