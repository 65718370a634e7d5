//! Profiles that the fuzzer decides, compiled by nfrun and by libseccomp: the same verdict for calls near what the profile
//! says. As tests/seccomp_against_libseccomp.rs, whose profiles come by chance.

#![no_main]

#[path = "../../seccomp/interpreter.rs"]
mod interpreter;
mod libseccomp;
#[path = "../../seccomp/model.rs"]
mod model;
#[path = "../../seccomp/random.rs"]
mod random;
#[path = "../../seccomp/reference.rs"]
mod reference;

use std::cell::RefCell;

use libfuzzer_sys::{Corpus, fuzz_target};
use libseccomp::Libseccomp;
use random::Random;
use reference::{Reference, compare};

thread_local! {
    static LIBRARY: RefCell<Libseccomp> = RefCell::new(Libseccomp::start());
}

fuzz_target!(|data: &[u8]| -> Corpus {
    LIBRARY.with_borrow_mut(|library| {
        let mut random = Random::of_bytes(data);
        let profile = random.profile(library);
        let reference = Reference::of(&profile, library, random.one_in(2));
        if reference.refused || reference.program.len() / 8 > 4096 {
            return Corpus::Reject;
        }
        compare(&profile, &reference, &mut random, 41, "fuzzed");
        Corpus::Keep
    })
});
