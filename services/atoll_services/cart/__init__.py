"""Cart: what somebody is about to buy, edited in whichever region they are."""
