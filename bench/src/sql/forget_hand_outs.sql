/* keypool-bench: forget_hand_outs */
-- As if no package in the pools had been handed out.
UPDATE one_time
SET held_until = NULL, reservation_id = NULL, group_id = NULL, holder = NULL, asked_at = NULL, reserved_at = NULL, seen_by = NULL,
    returns = 0
WHERE reservation_id IS NOT NULL OR seen_by IS NOT NULL;
DELETE FROM spend_log WHERE spent_at IS NULL
