"""Networks that change, simulated: every policy in ten scenarios, and how soon and at what cost dto-ee reacts."""

PARTS = {
    "policies": "every policy in networks that change, simulated (three quarters of an hour)",
    "room": "how much less delay an oracle or the best plan would have, simulated (ten minutes)",
    "reaction": "how soon nodes send less to a server that slows down, simulated (four minutes)",
    "recovery": "the price of each shipped change, and the city, simulated (four minutes)",
    "traffic": "control messages in the city, simulated (half a minute)",
    "networks": "plans on random networks against the best ones, simulated (three minutes)",
}
"""The benches of this room, and what each is about."""
