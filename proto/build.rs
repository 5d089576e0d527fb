//! Compiles the .proto files without an installed protoc, and keeps the descriptor set for server reflection.

use prost::Message as _;
use std::{env, error::Error, fs, path::PathBuf};

const FILES: [&str; 2] = ["keypool/v1/key_package_service.proto", "keypool/v1/audit_service.proto"];

const SERDE: &str =
    "#[cfg_attr(feature = \"serde\", derive(serde::Serialize, serde::Deserialize))]";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=keypool");
    let descriptors = protox::compile(FILES, ["."])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("keypool.v1.bin"), descriptors.encode_to_vec())?;
    let mut config = tonic_prost_build::Config::new();
    config.enable_type_names();
    for stored in ["keypool.v1.KeyPackageName", "keypool.v1.ErrorReason"] {
        config.type_attribute(stored, SERDE);
    }
    tonic_prost_build::configure().compile_fds_with_config(descriptors, config)?;
    Ok(())
}
