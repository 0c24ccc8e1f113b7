# Describes the contents of an extension as text, so that two databases can be compared.
package PmCatalog;

use strict;
use warnings FATAL => 'all';

# Everything that belongs to the extension pm in a database: objects, columns, defaults, constraints, indexes,
# triggers, bodies, privileges, owners, comments, and what pg_dump dumps of the tables. Sorted lines.
sub describe
{
	my ($node, $dbname) = @_;

	return $node->safe_psql($dbname, <<'SQL');
SET search_path = '';
CREATE FUNCTION pg_temp.rights(acl aclitem[]) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END || ':' || a.privilege_type || a.is_grantable, ' '
					  ORDER BY a.grantee, a.privilege_type)
	FROM aclexplode(acl) a
$$;
WITH member AS (
	SELECT d.classid, d.objid, (i).type, (i).identity
	FROM pg_depend d CROSS JOIN LATERAL pg_identify_object(d.classid, d.objid, 0) i
	WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
	  AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pm'))
SELECT line FROM (
	SELECT format('%s %s', m.type, m.identity) FROM member m
	UNION ALL
	SELECT format('comment %s %s: %s', m.type, m.identity, d.description)
	FROM member m JOIN pg_description d ON d.classoid = m.classid AND d.objoid = m.objid AND d.objsubid = 0
	UNION ALL
	SELECT format('schema %s: %s %s', m.identity, n.nspowner::regrole, pg_temp.rights(coalesce(n.nspacl, acldefault('n', n.nspowner))))
	FROM member m JOIN pg_namespace n ON n.oid = m.objid AND m.classid = 'pg_namespace'::regclass
	UNION ALL
	SELECT format('function %s: %s %s %s', m.identity, p.proowner::regrole,
				  pg_temp.rights(coalesce(p.proacl, acldefault('f', p.proowner))), regexp_replace(pg_get_functiondef(p.oid), '\s+', ' ', 'g'))
	FROM member m JOIN pg_proc p ON p.oid = m.objid AND m.classid = 'pg_proc'::regclass
	UNION ALL
	SELECT format('type %s: %s %s %s', m.identity, t.typowner::regrole, t.typtype, pg_temp.rights(coalesce(t.typacl, acldefault('T', t.typowner))))
	FROM member m JOIN pg_type t ON t.oid = m.objid AND m.classid = 'pg_type'::regclass
	UNION ALL
	SELECT format('event trigger %s: %s %s %s %s %s', e.evtname, e.evtowner::regrole, e.evtevent, e.evtfoid::regproc, e.evtenabled, e.evttags)
	FROM member m JOIN pg_event_trigger e ON e.oid = m.objid AND m.classid = 'pg_event_trigger'::regclass
	UNION ALL
	SELECT format('relation %s: %s %s %s %s %s %s %s', m.identity, c.relkind, c.relowner::regrole, c.relpersistence, c.reloptions,
				  c.relrowsecurity, c.relreplident, pg_temp.rights(coalesce(c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner))))
	FROM member m JOIN pg_class c ON c.oid = m.objid AND m.classid = 'pg_class'::regclass
	UNION ALL
	SELECT format('view %s: %s', m.identity, pg_get_viewdef(c.oid))
	FROM member m JOIN pg_class c ON c.oid = m.objid AND m.classid = 'pg_class'::regclass AND c.relkind = 'v'
	UNION ALL
	-- Columns are numbered in their order, because an upgrade may have dropped some.
	SELECT format('column %s %s: %s %s %s %s %s %s %s %s %s', m.identity, row_number() OVER (PARTITION BY c.oid ORDER BY a.attnum), a.attname,
				  format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attgenerated, a.attstorage, a.attcollation::regcollation,
				  pg_get_expr(d.adbin, d.adrelid), pg_temp.rights(a.attacl))
		   || coalesce(' -- ' || col_description(c.oid, a.attnum), '')
	FROM member m JOIN pg_class c ON c.oid = m.objid AND m.classid = 'pg_class'::regclass
	JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
	LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
	UNION ALL
	SELECT format('column of type %s: %s %s', m.identity, a.attname, format_type(a.atttypid, a.atttypmod))
	FROM member m JOIN pg_type t ON t.oid = m.objid AND m.classid = 'pg_type'::regclass AND t.typtype = 'c'
	JOIN pg_attribute a ON a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
	UNION ALL
	SELECT format('constraint %s %s: %s', m.identity, k.conname, pg_get_constraintdef(k.oid))
	FROM member m JOIN pg_constraint k ON k.conrelid = m.objid AND m.classid = 'pg_class'::regclass
	UNION ALL
	SELECT format('index of %s: %s %s %s', m.identity, pg_get_indexdef(i.indexrelid), i.indisunique, i.indisreplident)
	FROM member m JOIN pg_index i ON i.indrelid = m.objid AND m.classid = 'pg_class'::regclass
	UNION ALL
	SELECT format('trigger of %s: %s %s', m.identity, pg_get_triggerdef(t.oid), t.tgenabled)
	FROM member m JOIN pg_trigger t ON t.tgrelid = m.objid AND m.classid = 'pg_class'::regclass AND NOT t.tgisinternal
	UNION ALL
	SELECT format('sequence %s: %s %s %s %s %s %s', m.identity, s.seqtypid::regtype, s.seqstart, s.seqincrement, s.seqmin, s.seqmax, s.seqcycle)
	FROM member m JOIN pg_sequence s ON s.seqrelid = m.objid AND m.classid = 'pg_class'::regclass
	UNION ALL
	SELECT format('dumped %s: %s', t.config::regclass, t.condition)
	FROM pg_extension x CROSS JOIN LATERAL unnest(x.extconfig, x.extcondition) t(config, condition) WHERE x.extname = 'pm'
	UNION ALL
	SELECT format('extension: %s %s %s', x.extversion, x.extrelocatable, x.extnamespace::regnamespace) FROM pg_extension x WHERE x.extname = 'pm'
) l(line) ORDER BY line COLLATE "C";
SQL
}

# The lines that are in only one of two descriptions: "-" for the first, "+" for the second.
sub differences
{
	my ($left, $right) = @_;
	my %count;

	$count{$_}++ for split /\n/, $left;
	$count{$_}-- for split /\n/, $right;
	return join("\n", map { ($count{$_} > 0 ? '- ' : '+ ') . $_ } sort grep { $count{$_} != 0 } keys %count);
}

1;
