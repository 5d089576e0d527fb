use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::{fs, path::Path};

/// Writes what a Secret for TLS has: `ca.crt`, `tls.crt` for localhost, and `tls.key`.
pub fn write_certificates(folder: &Path) {
    fs::create_dir(folder).unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let service = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let service = service.signed_by(&key, &ca).unwrap();
    fs::write(folder.join("ca.crt"), ca.pem()).unwrap();
    fs::write(folder.join("tls.crt"), service.pem()).unwrap();
    fs::write(folder.join("tls.key"), key.serialize_pem()).unwrap();
}
