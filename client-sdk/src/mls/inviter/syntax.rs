//! The structure of a KeyPackage as RFC 9420 says it, whatever OpenMLS knows: what breaks it is broken for everybody.

/// MLS 1.0 (RFC 9420, section 6).
const MLS_10: u16 = 1;

/// Credential types (RFC 9420, section 17.5).
const BASIC: u16 = 1;
const X509: u16 = 2;

/// Leaf node sources (RFC 9420, section 7.2).
const KEY_PACKAGE: u8 = 1;
const UPDATE: u8 = 2;
const COMMIT: u8 = 3;

/// Why bytes can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SyntaxError {
    /// They are not exactly one KeyPackage.
    Broken,
    /// They say that they are of a version or a type that this crate does not know.
    Unknown,
}

type Read<T> = Result<T, SyntaxError>;

/// The cipher suite of bytes that are exactly one KeyPackage (RFC 9420, section 10).
pub(super) fn cipher_suite(bytes: &[u8]) -> Read<u16> {
    let mut package = Reader(bytes);
    if package.u16()? != MLS_10 {
        return Err(SyntaxError::Unknown);
    }
    let cipher_suite = package.u16()?;
    package.vector()?; // init_key
    package.leaf_node()?;
    package.extensions()?;
    package.vector()?; // signature
    package.end()?;
    Ok(cipher_suite)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Read<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(SyntaxError::Broken)?;
        self.0 = rest;
        Ok(taken)
    }

    fn u8(&mut self) -> Read<u8> {
        Ok(self.take(1)?[0])
    }

    fn u16(&mut self) -> Read<u16> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// A variable-size vector, whose length is as short as it can be (RFC 9420, section 2.1.2).
    fn vector(&mut self) -> Read<Reader<'a>> {
        let first = self.u8()?;
        let (more, least) = match first >> 6 {
            0 => (0, 0),
            1 => (1, 1 << 6),
            2 => (3, 1 << 14),
            _ => return Err(SyntaxError::Broken),
        };
        let rest = self.take(more)?.iter();
        let length =
            rest.fold(usize::from(first & 0x3f), |sum, byte| sum << 8 | usize::from(*byte));
        if length < least {
            return Err(SyntaxError::Broken);
        }
        self.take(length).map(Reader)
    }

    fn end(&self) -> Read<()> {
        if self.0.is_empty() { Ok(()) } else { Err(SyntaxError::Broken) }
    }

    fn leaf_node(&mut self) -> Read<()> {
        self.vector()?; // encryption_key
        self.vector()?; // signature_key
        self.credential()?;
        // versions, cipher_suites, extensions, proposals, credentials
        for _ in 0..5 {
            let mut listed = self.vector()?;
            while !listed.0.is_empty() {
                listed.u16()?;
            }
        }
        match self.u8()? {
            // lifetime
            KEY_PACKAGE => {
                self.take(16)?;
            }
            UPDATE => {}
            // parent_hash
            COMMIT => {
                self.vector()?;
            }
            _ => return Err(SyntaxError::Unknown),
        }
        self.extensions()?;
        self.vector()?; // signature
        Ok(())
    }

    fn credential(&mut self) -> Read<()> {
        match self.u16()? {
            // identity
            BASIC => {
                self.vector()?;
            }
            X509 => {
                let mut certificates = self.vector()?;
                while !certificates.0.is_empty() {
                    certificates.vector()?;
                }
            }
            _ => return Err(SyntaxError::Unknown),
        }
        Ok(())
    }

    fn extensions(&mut self) -> Read<()> {
        let mut extensions = self.vector()?;
        while !extensions.0.is_empty() {
            extensions.u16()?; // extension_type
            extensions.vector()?; // extension_data
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Short fields, and one extension in each list.
    fn package(credential: &[u8], source: &[u8]) -> Vec<u8> {
        let leaf: &[&[u8]] = &[
            &[1, 7, 1, 8], // keys
            credential,
            &[2, 0, 1, 2, 0xfa, 0xfa, 0, 0, 0], // capabilities
            source,
            &[5, 0xf0, 0, 2, 9, 9], // extensions
            &[1, 3],                // signature
        ];
        [&[0, 1, 0xfa, 0xfb, 1, 6], &*leaf.concat(), &[0], &[1, 4]].concat()
    }

    const IDENTITY: &[u8] = &[0, 1, 3, b'b', b'o', b'b'];

    fn lifetime() -> Vec<u8> {
        [&[KEY_PACKAGE][..], &[0; 16]].concat()
    }

    #[test]
    fn what_openmls_does_not_know_is_read_all_the_same() {
        let certificates: &[u8] = &[0, 2, 3, 2, 5, 5];
        for credential in [IDENTITY, certificates] {
            for source in [lifetime(), vec![UPDATE], vec![COMMIT, 1, 1]] {
                assert_eq!(cipher_suite(&package(credential, &source)), Ok(0xfafb));
            }
        }
    }

    #[test]
    fn what_is_not_exactly_one_package_is_broken() {
        let good = package(IDENTITY, &lifetime());
        for length in 0..good.len() {
            assert_eq!(cipher_suite(&good[..length]), Err(SyntaxError::Broken), "{length}");
        }
        assert_eq!(cipher_suite(&[&*good, &[0]].concat()), Err(SyntaxError::Broken));
        // The length of the init key in two bytes where one is enough, and with a prefix that there is not.
        for length in [&[0x40, 1][..], &[0x80, 0, 0, 1], &[0xc1]] {
            let other = [&good[..4], length, &good[5..]].concat();
            assert_eq!(cipher_suite(&other), Err(SyntaxError::Broken), "{length:?}");
        }
        // An odd number of bytes in a list of two-byte values.
        let odd: &[u8] = &[0, 1, 3, b'b', b'o', b'b', 1, 0];
        assert_eq!(cipher_suite(&package(odd, &lifetime())), Err(SyntaxError::Broken));
    }

    #[test]
    fn what_may_be_right_in_a_later_version_is_not_broken() {
        let mut other = package(IDENTITY, &lifetime());
        other[1] = 2;
        let unknown = [other, package(&[0xfa, 0xfa, 1, 1], &lifetime()), package(IDENTITY, &[9])];
        for package in unknown {
            assert_eq!(cipher_suite(&package), Err(SyntaxError::Unknown));
        }
    }
}
