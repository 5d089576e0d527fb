//! Every promise holds whatever the database's defaults are: the tests of this program are run again, with databases on which
//! each setting that a session may change has a hostile value.

use keypool_service::testing::database::defaults::VARIABLE;
use std::process::Command;

fn every_promise_holds(defaults: &str) {
    let program = std::env::current_exe().unwrap();
    let mut again = Command::new(program);
    let again = again.args(["--skip", "hostile::"]).env(VARIABLE, defaults).output().unwrap();
    let output = String::from_utf8_lossy(&again.stdout);
    assert!(again.status.success(), "{output}{}", String::from_utf8_lossy(&again.stderr));
    assert!(output.contains("once::a_spent_package_is_never_handed_out_again ... ok"), "{output}");
}

#[test]
fn with_any_setting_of_the_database() {
    every_promise_holds("database");
}

#[test]
fn with_any_setting_of_the_role() {
    every_promise_holds("role");
}

#[test]
fn with_any_setting_of_the_cluster() {
    every_promise_holds("system");
}
