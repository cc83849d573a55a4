"""Drive a run: what all frameworks do alike.

`driver` hands out work, has it journaled, told and registered, and reports; `opening` opens a run, new or
resumed, as `options` say. `retrying` is what is known of failures, `cutshort` what becomes of attempts whose
process ended, `openbundles` what is out; `tokens` bound what runs at once, `jobrequests` is what tasks ask of
jobs (hooks, tags), `callbacks` are delivered once, `provenance` goes with what is registered.
"""
