/* keypool: grants */
-- Every right that the service needs to run, and no other.
GRANT USAGE ON SCHEMA {schema} TO {role};
GRANT SELECT ON refinery_schema_history, served_schema, origin TO {role};
GRANT SELECT, INSERT, UPDATE (last_upload_at) ON device TO {role};
GRANT SELECT, INSERT, UPDATE (accepted, purged) ON pool TO {role};
GRANT SELECT, INSERT, DELETE, UPDATE (key_package, credential, signature_key) ON key_package TO {role};
GRANT SELECT, INSERT, DELETE, UPDATE (
    held_until, reservation_id, group_id, holder, asked_at, fence, seen_by, returns, reserved_at
) ON one_time TO {role};
GRANT SELECT, INSERT, DELETE, UPDATE (superseded_at, revoked_at, bytes) ON last_resort TO {role};
GRANT SELECT, INSERT, DELETE, UPDATE (revoked_at, held_until, reservation_id, group_id, holder) ON revoked TO {role};
GRANT SELECT, INSERT, DELETE, UPDATE (
    held_until, spent_at, released_at, lapsed_at, unusable_reason, principal
) ON spend_log TO {role};
GRANT SELECT, INSERT, UPDATE (reached, key_package_ref) ON sweep_position TO {role};
GRANT SELECT, INSERT ON fence TO {role};
GRANT SELECT, INSERT, DELETE, UPDATE (number, beaten_at) ON beat TO {role};
