//! That `eventlogger bench` works: that its figures are good is for a quiet machine to show.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::Value;

#[test]
fn a_quick_benchmark_runs_every_comparison_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    // Run by root, the cluster's user has to pass.
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_eventlogger"))
        .args(["bench", "--quick", "--json", "--dir"])
        .arg(folder.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let comparisons = report["comparisons"].as_array().unwrap();
    assert_eq!(comparisons.len(), 5);
    for comparison in comparisons {
        let [round] = &comparison["rounds"].as_array().unwrap()[..] else { panic!("{comparison:#}") };
        for side in ["service", "postgres"] {
            assert!(round[side]["events"].as_u64().unwrap() > 0, "{comparison:#}");
        }
    }
    // At least one answer of each comparison, and one for each of the tenants.
    assert!(report["receipts_checked"].as_u64().unwrap() >= 4 + 64, "{report:#}");
    assert_eq!(folder.path().read_dir().unwrap().count(), 0);
}
