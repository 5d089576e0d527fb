/* keypool: guarded */
-- Whether it would show if a table of packages were emptied, also by a session that replicates: DISABLE TRIGGER, and then ENABLE
-- TRIGGER, as pg_dump --disable-triggers writes them, leave the triggers of V5 in another state. A missing table is another matter.
SELECT NOT EXISTS (
    SELECT FROM unnest(ARRAY['key_package', 'one_time', 'last_resort', 'revoked', 'spend_log']) AS n (name)
    WHERE to_regclass(n.name) IS NOT NULL
      AND NOT EXISTS (
          SELECT FROM pg_trigger t
          WHERE t.tgrelid = to_regclass(n.name) AND t.tgname = 'renew_origin' AND t.tgenabled = 'A'
      )
) AS guarded
