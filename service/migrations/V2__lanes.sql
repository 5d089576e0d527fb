-- When the reservation last asked for the package: grows with each repeated reserve. A call whose caller has left gives
-- its hold back only if no repeat has asked for it since.
ALTER TABLE one_time ADD COLUMN asked_at timestamptz;
