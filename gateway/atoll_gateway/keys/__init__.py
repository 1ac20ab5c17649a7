"""Where ``Idempotency-Key`` records are kept, and how a gateway reaches them: in the own region, or in another."""
