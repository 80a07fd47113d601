"""Words of the titles in the demo world; no word belongs to two genres, so a title shows its genres."""

from __future__ import annotations

# genre -> (adjectives, nouns)
GENRES: dict[str, tuple[str, str]] = {
    "space": (
        "Orbital Stellar Lunar Galactic Weightless Solar Interstellar Cosmic",
        "Comet Starship Nebula Asteroid Satellite Quasar Moonbase Rocket",
    ),
    "western": (
        "Dusty Lawless Saddled Sunburnt Gunslinging Frontier Rustling Untamed",
        "Saloon Sheriff Mustang Canyon Outlaw Ranch Stagecoach Prairie",
    ),
    "horror": (
        "Haunted Bloodless Screaming Cursed Rotting Ghastly Undead Howling",
        "Crypt Ghoul Asylum Poltergeist Coffin Werewolf Graveyard Nightmare",
    ),
    "romance": (
        "Tender Blushing Beloved Lovelorn Passionate Sweethearted Devoted Yearning",
        "Kiss Wedding Valentine Bouquet Heartbeat Honeymoon Proposal Serenade",
    ),
    "crime": (
        "Crooked Stolen Guilty Smuggled Ruthless Counterfeit Armed Wanted",
        "Heist Detective Alibi Mobster Getaway Verdict Informant Burglar",
    ),
    "fantasy": (
        "Enchanted Elven Dragonborn Runic Spellbound Mythic Wizardly Prophesied",
        "Dragon Sorcerer Amulet Griffin Kingdom Unicorn Goblin Grimoire",
    ),
    "war": (
        "Besieged Wounded Fallen Entrenched Bombarded Decorated Marching Embattled",
        "Trench Battalion Grenade Armistice Sergeant Barricade Regiment Frontline",
    ),
    "sport": (
        "Undefeated Sprinting Champion Offside Heavyweight Sweaty Olympic Unbeaten",
        "Goalkeeper Marathon Stadium Referee Knockout Trophy Playoff Quarterback",
    ),
    "music": (
        "Melodic Electric Unplugged Syncopated Acoustic Soulful Rhythmic Offbeat",
        "Guitar Drummer Encore Chorus Trumpet Ballad Jukebox Songbook",
    ),
    "nature": (
        "Mossy Wild Migrating Feathered Blooming Alpine Evergreen Burrowing",
        "Forest Otter Glacier Meadow Falcon Orchid Wetland Beehive",
    ),
    "comedy": (
        "Clumsy Ridiculous Giggling Awkward Zany Hilarious Tipsy Bumbling",
        "Prank Clown Roommate Mishap Sidekick Buffoon Banana Punchline",
    ),
    "history": (
        "Imperial Medieval Ancient Royal Colonial Byzantine Feudal Victorian",
        "Dynasty Pharaoh Cathedral Chronicle Crusade Gladiator Monarch Aqueduct",
    ),
}
