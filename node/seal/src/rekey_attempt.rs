//! New shares in the place of the old ones.
//!
//! ```text
//! shares in force ──enough──→ new shares ───────────────────────────────→ replaced
//!                                  └─ handed out ── enough of them given ──┘
//! ```
//!
//! The old set is in force until the new one has replaced it, by one entry: at no time are there
//! two, or none. Without verification the new shares are handed out once they are in force, so an
//! answer that is lost then is lost for good; with verification they take force once enough of them
//! came back.

use conclave_barrier::{Recipient, SealRecord, make_recipient};
use conclave_memory::SecretBytes;
use conclave_ports::Rng;
use zeroize::Zeroizing;

use crate::attempts::{add_new, check_nonce};
use crate::ceremony::{Progress, make_nonce, make_shamir};
use crate::error::{SealError, invalid};
use crate::given::{Given, checked, shamir_recipient};
use crate::shamir::{self, Share};

/// What the new set is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RekeyPlan {
    /// How many shares are handed out.
    pub shares: u8,
    /// How many of them are needed.
    pub threshold: u8,
    /// Whether the new set waits until enough of its shares came back.
    pub verify: bool,
}

/// How far an attempt is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RekeyStatus {
    /// Shares of the set in force; an empty nonce where no attempt is under way.
    pub progress: Progress,
    /// Of the attempt under way.
    pub plan: RekeyPlan,
    /// New shares that came back; an empty nonce while none are to.
    pub verification: Progress,
}

/// What became of a share.
pub enum RekeyStep {
    /// More are needed.
    More,
    /// These are to be handed out and to come back under this nonce. The old set is in force.
    Verify {
        /// Of the new set.
        shares: Vec<Share>,
        /// Of the verification.
        nonce: String,
    },
    /// The new recipient is to take the place of the old one, in the seal record of this revision.
    /// Until the attempt is ended, a share that took part asks for the same again: the entry may
    /// have failed.
    Replace {
        /// Wraps the root key.
        recipient: Recipient,
        /// Of the seal record that the old shares opened.
        revision: u64,
    },
}

/// An attempt under way.
pub(crate) struct RekeyAttempt {
    nonce: String,
    /// Of the seal record.
    revision: u64,
    plan: RekeyPlan,
    given: Given,
    made: Option<Made>,
}

/// The new set.
struct Made {
    recipient: Recipient,
    /// Those that nobody was given yet.
    shares: Vec<SecretBytes>,
    verification: Option<Verification>,
}

struct Verification {
    nonce: String,
    given: Given,
    passed: bool,
}

impl RekeyAttempt {
    pub(crate) fn new(rng: &dyn Rng, plan: RekeyPlan, revision: u64) -> Result<Self, SealError> {
        shamir::check_numbers(plan.shares, plan.threshold)?;
        let nonce = make_nonce(rng);
        Ok(Self { nonce, revision, plan, given: Given::default(), made: None })
    }

    pub(crate) fn nonce(&self) -> &str {
        &self.nonce
    }

    /// Whether the seal record is another one than the attempt began with, and not by itself.
    pub(crate) fn is_overtaken(&self, record: &SealRecord) -> bool {
        let is_own = |made: &Made| record.recipients.contains(&made.recipient);
        record.revision != self.revision && !self.made.as_ref().is_some_and(is_own)
    }

    pub(crate) fn status(&self) -> RekeyStatus {
        let verification = self.made.as_ref().and_then(|made| made.verification.as_ref());
        RekeyStatus {
            progress: Progress { given: self.given.count(), nonce: self.nonce.clone() },
            plan: self.plan,
            verification: verification.map(Verification::progress).unwrap_or_default(),
        }
    }

    pub(crate) fn give(
        &mut self,
        rng: &dyn Rng,
        record: &SealRecord,
        share: Share,
    ) -> Result<RekeyStep, SealError> {
        if let Some(made) = &self.made {
            return self.give_again(made, share);
        }
        let (index, recipient) = shamir_recipient(record)?;
        add_new(&mut self.given, share)?;
        if self.given.count() < recipient.threshold {
            return Ok(RekeyStep::More);
        }
        let root_key = self.given.open(record, index).inspect_err(|_| self.given.clear())?;
        let (new, shares) = make_shamir(rng, self.plan.shares, self.plan.threshold)?;
        let recipient = make_recipient(&root_key, &record.cluster_id, &new, rng);
        if self.plan.verify {
            let verification = Verification::new(rng);
            let nonce = verification.nonce.clone();
            let verification = Some(verification);
            self.made = Some(Made { recipient, shares: Vec::new(), verification });
            return Ok(RekeyStep::Verify { shares, nonce });
        }
        let shares = shares.into_iter().map(SecretBytes::new).collect();
        self.made = Some(Made { recipient: recipient.clone(), shares, verification: None });
        Ok(RekeyStep::Replace { recipient, revision: self.revision })
    }

    /// The new set is made. Whoever allowed it may ask again for it to be put in force.
    fn give_again(&self, made: &Made, share: Share) -> Result<RekeyStep, SealError> {
        if made.verification.is_some() {
            return invalid("the new shares wait for their verification; give them there");
        }
        if !self.given.has(&checked(share)?) {
            return invalid("enough shares were given; send the last of them again");
        }
        Ok(self.replace(made))
    }

    pub(crate) fn restart_verification(&mut self, rng: &dyn Rng) -> Result<(), SealError> {
        let (_, verification) = self.verification()?;
        *verification = Verification::new(rng);
        Ok(())
    }

    pub(crate) fn verify(
        &mut self,
        record: &SealRecord,
        nonce: &str,
        share: Share,
    ) -> Result<RekeyStep, SealError> {
        let threshold = self.plan.threshold;
        let (new, verification) = self.verification()?;
        check_nonce(&verification.nonce, nonce)?;
        if verification.passed {
            if !verification.given.has(&checked(share)?) {
                return invalid("enough shares were given; send the last of them again");
            }
        } else {
            add_new(&mut verification.given, share)?;
            if verification.given.count() < threshold {
                return Ok(RekeyStep::More);
            }
            let future = SealRecord { recipients: vec![new], ..record.clone() };
            let opened = verification.given.open(&future, 0);
            opened.inspect_err(|_| verification.given.clear())?;
            verification.passed = true;
        }
        let made = self.made.as_ref().expect("what was verified is made");
        Ok(self.replace(made))
    }

    fn verification(&mut self) -> Result<(Recipient, &mut Verification), SealError> {
        let made = self.made.as_mut();
        match made.and_then(|made| Some((made.recipient.clone(), made.verification.as_mut()?))) {
            Some(found) => Ok(found),
            None => invalid("no rekey verification in progress; give the shares in force first"),
        }
    }

    fn replace(&self, made: &Made) -> RekeyStep {
        RekeyStep::Replace { recipient: made.recipient.clone(), revision: self.revision }
    }

    pub(crate) fn into_shares(self) -> Vec<Share> {
        let shares = self.made.map(|made| made.shares).unwrap_or_default();
        shares.iter().map(|share| Zeroizing::new(share.expose().to_vec())).collect()
    }
}

impl Verification {
    fn new(rng: &dyn Rng) -> Self {
        Self { nonce: make_nonce(rng), given: Given::default(), passed: false }
    }

    fn progress(&self) -> Progress {
        Progress { given: self.given.count(), nonce: self.nonce.clone() }
    }
}
