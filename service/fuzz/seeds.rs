//! Writes real packages and requests into `seeds/`, for the fuzzer to begin with: `cargo run --example seeds`.

use jiff::Timestamp;
use keypool_service::{
    testing::{
        packages::PackageMaker,
        requests::{Method, samples},
    },
    types::CipherSuite,
};
use std::{fs, io, path::Path};

fn main() -> io::Result<()> {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    for (name, package) in packages() {
        write(&seeds.join("upload"), &name, &package)?;
    }
    for (method, number) in Method::ALL.into_iter().zip(0_u8..) {
        for (n, request) in samples(method).into_iter().enumerate() {
            let seed = [&[number], request.as_slice()].concat();
            write(&seeds.join("requests"), &format!("{}_{n}", method.name()), &seed)?;
        }
    }
    Ok(())
}

fn packages() -> Vec<(String, Vec<u8>)> {
    let begin = Timestamp::constant(1_577_836_800, 0); // 2020
    let end = Timestamp::constant(4_102_444_800, 0); // 2100
    let mut packages = Vec::new();
    for suite in [1, 2, 3] {
        let maker = || {
            let maker = PackageMaker::new("alice", "phone").cipher_suite(CipherSuite(suite));
            maker.lifetime(begin, end)
        };
        packages.extend([
            (format!("suite_{suite}"), maker().make()),
            (format!("suite_{suite}_last_resort"), maker().last_resort().make()),
            (format!("suite_{suite}_extension"), maker().application_data(b"data").make()),
        ]);
    }
    packages
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    fs::write(folder.join(name), bytes)
}
