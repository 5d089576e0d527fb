use super::{fails, keypool, succeeds};

#[tokio::test]
async fn help_names_every_command_and_flag() {
    let help = succeeds(keypool(&["--help"])).await;
    let commands = [
        "serve",
        "migrate",
        "status",
        "sweep",
        "fence",
        "doctor",
        "ready",
        "man",
        "check-config",
        "completions",
    ];
    let flags = ["--config", "--database-url", "--data-dir", "--log-format", "--listen"];
    let more = ["--admin-listen", "--insecure", "--plain-text", "--version", "KEYPOOL_LISTEN"];
    for word in [&commands[..], &flags, &more].concat() {
        assert!(help.contains(word), "no {word} in {help}");
    }
}

#[tokio::test]
async fn the_version_is_that_of_the_package() {
    let version = succeeds(keypool(&["--version"])).await;
    assert_eq!(version, format!("keypool {}\n", env!("CARGO_PKG_VERSION")));
}

#[tokio::test]
async fn an_unknown_flag_or_command_is_refused_with_the_one_that_was_meant() {
    let flag = fails(keypool(&["--lisen", "127.0.0.1:0"]), 2).await;
    assert!(flag.contains("'--lisen'") && flag.contains("'--listen'"), "{flag}");
    let command = fails(keypool(&["migarte"]), 2).await;
    assert!(command.contains("'migarte'") && command.contains("'migrate'"), "{command}");
}

#[tokio::test]
async fn completions_are_printed_for_each_shell() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = succeeds(keypool(&["completions", shell])).await;
        for word in ["keypool", "check-config", "admin-listen"] {
            assert!(script.contains(word), "no {word} for {shell}");
        }
    }
    let unknown = fails(keypool(&["completions", "cmd"]), 2).await;
    assert!(unknown.contains("bash"), "{unknown}");
}

#[tokio::test]
async fn there_is_a_manual_page_for_each_command() {
    let folder = tempfile::tempdir().unwrap();
    succeeds(keypool(&["man", folder.path().to_str().unwrap()])).await;
    for page in ["keypool.1", "keypool-serve.1", "keypool-fence-raise.1", "keypool-status.1"] {
        let page = std::fs::read_to_string(folder.path().join(page)).unwrap();
        assert!(page.contains(".TH keypool"), "{page}");
    }
}
