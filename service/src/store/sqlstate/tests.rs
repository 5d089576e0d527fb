use super::{
    Meaning::{self, Conflict, Internal, Locked, Lost, Unavailable},
    Persisting, meaning,
};

const STALE_ELSE_UNAVAILABLE: Meaning = Meaning::Stale(Persisting::Unavailable);
const STALE_ELSE_INTERNAL: Meaning = Meaning::Stale(Persisting::Internal);

/// Appendix A of PostgreSQL's documentation, as of version 18, class by class. Where a class has more than one meaning, it has a
/// row for each.
const CODES: &[(&str, Meaning)] = &[
    ("00000", Internal),
    ("01000 0100C 01008 01003 01007 01006 01004 01P01", Internal),
    ("02000 02001", Internal),
    ("03000", Internal),
    ("08000 08003 08006 08001 08004 08007 08P01", Lost),
    ("09000", Internal),
    ("0A000", STALE_ELSE_INTERNAL),
    ("0B000", Internal),
    ("0F000 0F001", Internal),
    ("0L000 0LP01", Internal),
    ("0P000", Internal),
    ("0Z000 0Z002", Internal),
    ("10608", Internal),
    ("20000", Internal),
    ("21000", Internal),
    (
        "22000 2202E 22021 22008 22012 22005 2200B 22022 22015 2201E 22014 22016 2201F 2201G 22018 22007 22019 2200D 22025 \
         22P06 22010 22023 22013 2201B 2201W 2201X 2202H 2202G 22009 2200C 2200G 22004 22002 22003 2200H 22026 22001 22011 \
         22027 22024 2200F 22P01 22P02 22P03 22P04 22P05 2200L 2200M 2200N 2200S 2200T 22030 22031 22032 22033 22034 22035 \
         22036 22037 22038 22039 2203A 2203B 2203C 2203D 2203E 2203F 2203G",
        Internal,
    ),
    ("23000 23001 23502 23503 23505 23514 23P01", Internal),
    ("24000", Internal),
    ("25000 25001 25002 25008 25003 25004 25005 25006 25007 25P01 25P02", STALE_ELSE_UNAVAILABLE),
    ("25P03 25P04", Lost),
    ("26000", STALE_ELSE_UNAVAILABLE),
    ("27000", Internal),
    ("28000 28P01", Unavailable),
    ("2B000 2BP01", Internal),
    ("2D000", Internal),
    ("2F000 2F005 2F002 2F003 2F004", Internal),
    ("34000", STALE_ELSE_UNAVAILABLE),
    ("38000 38001 38002 38003 38004", Internal),
    ("39000 39001 39004 39P01 39P02 39P03", Internal),
    ("3B000 3B001", Internal),
    ("3D000", Unavailable),
    ("3F000", Unavailable),
    ("40000 40001 40P01", Conflict),
    ("40002", Internal),
    ("40003", Lost),
    ("42601 42602 42622 42939", Internal),
    ("42P18 42704 42P05", STALE_ELSE_UNAVAILABLE),
    (
        "42000 42501 42846 42803 42P20 42P19 42830 42804 42P21 42P22 42809 428C9 42703 42883 42P01 42P02 42701 42P03 42P04 \
         42723 42P06 42P07 42712 42710 42702 42725 42P08 42P09 42P10 42611 42P11 42P12 42P13 42P14 42P15 42P16 42P17",
        Unavailable,
    ),
    ("44000", Internal),
    ("53000 53100 53200 53300 53400", Unavailable),
    ("54000 54001 54011 54023", Internal),
    ("55000 55006 55P02", Unavailable),
    ("55P03", Locked),
    ("55P04", Internal),
    ("57000 57014", Unavailable),
    ("57P01 57P02 57P03 57P04 57P05", Lost),
    ("58000 58030 58P01 58P02 58P03", Unavailable),
    ("72000", Conflict),
    ("F0000 F0001", Unavailable),
    (
        "HV000 HV005 HV002 HV010 HV021 HV024 HV007 HV008 HV004 HV006 HV091 HV00B HV00C HV00D HV090 HV00A HV009 HV014 HV001 \
         HV00P HV00J HV00K HV00Q HV00R HV00L HV00M HV00N",
        Unavailable,
    ),
    ("P0000 P0001 P0002 P0003 P0004", Internal),
    ("XX000", STALE_ELSE_INTERNAL),
    ("XX001 XX002", Internal),
];

#[test]
fn every_code_of_postgresql_has_its_meaning() {
    let mut codes: Vec<&str> = Vec::new();
    for (group, expected) in CODES {
        for code in group.split_whitespace() {
            assert_eq!(meaning(code), *expected, "{code}");
            codes.push(code);
        }
    }
    let count = codes.len();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes.len(), count, "each code is there once");
    assert!(codes.iter().all(|code| code.len() == 5), "{codes:?}");
}

#[test]
fn no_row_is_hidden_behind_another() {
    for (row, (start, _)) in super::MEANINGS.iter().enumerate() {
        let first = super::MEANINGS.iter().position(|(other, _)| start.starts_with(other));
        assert_eq!(first, Some(row), "{start}");
    }
}

#[test]
fn what_is_not_of_postgresql_is_internal() {
    for code in ["", "0", "ABCDE", "YB000", "CR000", "é"] {
        assert_eq!(meaning(code), Internal, "{code}");
    }
}
