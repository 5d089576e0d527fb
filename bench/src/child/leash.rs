//! What ends a child when its parent has ended.

use std::{io, process, thread};

/// Ends this process as soon as its standard input ends, which the parent holds open for as long as it lives.
pub(crate) fn attach() {
    thread::spawn(|| {
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        process::exit(1);
    });
}
