//! Verifies what the service handed out.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use keypool_proto::v1::KeyPackageName;
use openmls::prelude::{
    Capabilities, Ciphersuite, CredentialType, ExtensionType, KeyPackage, KeyPackageIn, LeafNode,
    MlsGroup, OpenMlsCrypto, ProposalType, ProtocolVersion,
};
use tls_codec::{Deserialize, Serialize, VLBytes};

use super::PackageFault;
use super::syntax::{self, SyntaxError};
use crate::ReservedPackage;
use crate::mls::CredentialVerifier;

/// The code points up to these are known to every client, and are not listed in capabilities
/// (RFC 9420, section 7.2).
const LAST_DEFAULT_EXTENSION: u16 = 5;
const LAST_DEFAULT_PROPOSAL: u16 = 7;

/// What a group needs of its new members, and who is in it.
pub(super) struct Needs {
    ciphersuite: Ciphersuite,
    extensions: Vec<ExtensionType>,
    proposals: Vec<ProposalType>,
    credentials: Vec<CredentialType>,
    keys: HashSet<Vec<u8>>,
}

impl Needs {
    pub(super) fn of(group: &MlsGroup) -> Self {
        let context = group.extensions();
        let mut needs = Self {
            ciphersuite: group.ciphersuite(),
            extensions: context.iter().map(|extension| extension.extension_type()).collect(),
            proposals: Vec::new(),
            credentials: Vec::new(),
            keys: HashSet::new(),
        };
        if let Some(required) = context.required_capabilities() {
            needs.extensions.extend(required.extension_types());
            needs.proposals.extend(required.proposal_types());
            needs.credentials.extend(required.credential_types());
        }
        for member in group.members() {
            needs.credentials.push(member.credential.credential_type());
            needs.keys.insert(member.signature_key);
            needs.keys.extend(encode(&VLBytes::from(member.encryption_key)));
        }
        needs
    }

    fn check(&self, capabilities: &Capabilities) -> Result<(), PackageFault> {
        let lacking = if !lists_extensions(capabilities, &self.extensions) {
            "an extension"
        } else if !lists_proposals(capabilities, &self.proposals) {
            "a proposal type"
        } else if !self.credentials.iter().all(|t| capabilities.credentials().contains(t)) {
            "a credential type"
        } else {
            return Ok(());
        };
        Err(PackageFault::UnsupportedCapabilities(lacking))
    }
}

/// Verifies the packages of one reservation, one after the other.
pub(super) struct Verification<'a, C, V> {
    pub(super) crypto: &'a C,
    pub(super) verifier: &'a V,
    pub(super) needs: &'a Needs,
    pub(super) max_lifetime: Duration,
    seen: HashSet<Vec<u8>>,
}

impl<'a, C: OpenMlsCrypto, V: CredentialVerifier> Verification<'a, C, V> {
    pub(super) fn new(
        crypto: &'a C,
        verifier: &'a V,
        needs: &'a Needs,
        max_lifetime: Duration,
    ) -> Self {
        Self { crypto, verifier, needs, max_lifetime, seen: HashSet::new() }
    }

    /// The package, if it is sound by itself and what the service says of it is true.
    pub(super) fn check(&self, package: &ReservedPackage) -> Result<KeyPackage, PackageFault> {
        if package.spent && package.bytes.is_empty() {
            return Err(PackageFault::Forgotten);
        }
        self.check_cipher_suite(package)?;
        let key_package = self.parse(&package.bytes)?;
        self.check_label(package, &key_package)?;
        self.check_lifetime(&key_package)?;
        check_own_capabilities(&key_package)?;
        Ok(key_package)
    }

    /// The sound package, ready to be added: it belongs to the device and fits the group.
    pub(super) fn verify(
        &mut self,
        name: &KeyPackageName,
        key_package: KeyPackage,
    ) -> Result<KeyPackage, PackageFault> {
        let leaf = key_package.leaf_node();
        let (credential, signature_key) = (leaf.credential(), leaf.signature_key());
        self.verifier.verify(&name.user_id, &name.device_id, credential, signature_key)?;
        self.check_unique(&key_package)?;
        self.needs.check(leaf.capabilities())?;
        Ok(key_package)
    }

    /// Without OpenMLS, which may not know the cipher suite. From here on it is the group's, so that the
    /// signatures can be verified.
    fn check_cipher_suite(&self, package: &ReservedPackage) -> Result<(), PackageFault> {
        let cipher_suite = syntax::cipher_suite(&package.bytes).map_err(|error| match error {
            SyntaxError::Broken => PackageFault::Malformed,
            SyntaxError::Unknown => PackageFault::Unreadable,
        })?;
        let said = package.cipher_suite;
        if cipher_suite != said || said != u16::from(self.needs.ciphersuite) {
            return Err(PackageFault::WrongCipherSuite);
        }
        Ok(())
    }

    /// Decoders have panicked on hostile bytes before: here that is one more package that can't be read.
    fn parse(&self, bytes: &[u8]) -> Result<KeyPackage, PackageFault> {
        let parse = || -> Result<KeyPackage, PackageFault> {
            let package =
                KeyPackageIn::tls_deserialize_exact(bytes).map_err(|_| PackageFault::Unreadable)?;
            // Signatures are verified on what OpenMLS writes, which must be what was signed.
            if encode(&package).is_none_or(|again| again != bytes) {
                return Err(PackageFault::Unreadable);
            }
            Ok(package.validate(self.crypto, ProtocolVersion::Mls10)?)
        };
        catch_unwind(AssertUnwindSafe(parse)).unwrap_or(Err(PackageFault::Unreadable))
    }

    /// What the service says about the package must be true.
    fn check_label(
        &self,
        package: &ReservedPackage,
        key_package: &KeyPackage,
    ) -> Result<(), PackageFault> {
        let hash_ref = key_package.hash_ref(self.crypto).map_err(|_| PackageFault::Unreadable)?;
        if hash_ref.as_slice() != package.name.key_package_ref {
            return Err(PackageFault::WrongRef);
        }
        if key_package.last_resort() != package.last_resort {
            return Err(PackageFault::WrongLastResort);
        }
        Ok(())
    }

    /// That now is within the lifetime was part of the validation.
    fn check_lifetime(&self, key_package: &KeyPackage) -> Result<(), PackageFault> {
        let lifetime = key_package.life_time();
        match lifetime.not_after().checked_sub(lifetime.not_before()) {
            Some(seconds) if seconds <= self.max_lifetime.as_secs() => Ok(()),
            _ => Err(PackageFault::LifetimeTooLong),
        }
    }

    /// No two members may share a key (RFC 9420, section 7.3).
    fn check_unique(&mut self, key_package: &KeyPackage) -> Result<(), PackageFault> {
        let leaf = key_package.leaf_node();
        let signature_key = leaf.signature_key().as_slice().to_vec();
        let encryption_key = encode(leaf.encryption_key()).ok_or(PackageFault::Malformed)?;
        if [&signature_key, &encryption_key].into_iter().any(|key| self.needs.keys.contains(key)) {
            return Err(PackageFault::AlreadyMember);
        }
        let init_key = key_package.hpke_init_key().as_slice().to_vec();
        let marks = [init_key, signature_key, encryption_key];
        if marks.iter().any(|mark| self.seen.contains(mark)) {
            return Err(PackageFault::Duplicate);
        }
        self.seen.extend(marks);
        Ok(())
    }
}

/// OpenMLS shows an encryption key in its encoded form only.
fn encode(key: &impl Serialize) -> Option<Vec<u8>> {
    key.tls_serialize_detached().ok()
}

/// OpenMLS leaves these rules of RFC 9420, sections 7.2 and 7.3, out.
fn check_own_capabilities(key_package: &KeyPackage) -> Result<(), PackageFault> {
    let leaf: &LeafNode = key_package.leaf_node();
    let capabilities = leaf.capabilities();
    let extensions: Vec<_> = leaf.extensions().iter().map(|e| e.extension_type()).collect();
    let suite = u16::from(key_package.ciphersuite());
    let lacking = if !capabilities.ciphersuites().iter().any(|listed| listed.value() == suite) {
        "its cipher suite"
    } else if !capabilities.credentials().contains(&leaf.credential().credential_type()) {
        "its credential type"
    } else if !lists_extensions(capabilities, &extensions) {
        "an extension"
    } else {
        return Ok(());
    };
    Err(PackageFault::InconsistentCapabilities(lacking))
}

fn lists_extensions(capabilities: &Capabilities, extensions: &[ExtensionType]) -> bool {
    extensions.iter().all(|extension| {
        u16::from(*extension) <= LAST_DEFAULT_EXTENSION
            || capabilities.extensions().contains(extension)
    })
}

fn lists_proposals(capabilities: &Capabilities, proposals: &[ProposalType]) -> bool {
    proposals.iter().all(|proposal| {
        u16::from(*proposal) <= LAST_DEFAULT_PROPOSAL || capabilities.proposals().contains(proposal)
    })
}
