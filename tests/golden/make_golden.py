#!/usr/bin/env python3
"""Writes the golden files with torch, transformers and diffusers; README.md says what they hold.

    python tests/golden/make_golden.py [--only NAME ...] [--out tests/golden]

Needs the packages of tests/golden/requirements.txt in a venv outside the repository, and no network.
"""

import argparse
import os

import torch

import golden_added_tokens
import golden_analysis
import golden_clip
import golden_clones
import golden_daam
import golden_deep_cache
import golden_embeddings
import golden_gradients
import golden_guided
import golden_int8
import golden_lora
import golden_lora_training
import golden_lr_schedules
import golden_masks
import golden_measures
import golden_models
import golden_network_gradients
import golden_networks
import golden_optimisers
import golden_pictures
import golden_redraw
import golden_rng
import golden_schedulers
import golden_tiny
import golden_tiny_training
import golden_token_merging
import golden_tokens
import golden_trajectories
import golden_types
import golden_weighted
import hashed

# In this order: the parts from networks on read models/.
PARTS = {"rng": golden_rng.make_rng, "tokens": golden_tokens.make_tokens,
         "schedulers": golden_schedulers.make_schedulers, "few_steps": golden_schedulers.make_few_steps,
         "scheduler_options": golden_schedulers.make_scheduler_options,
         "models": golden_models.make_models, "networks": golden_networks.make_networks,
         "small_tokens": golden_tokens.make_small_tokens, "added_tokens": golden_added_tokens.make_added_tokens,
         "pictures": golden_pictures.make_pictures,
         "hashed": hashed.make_hashed, "gradients": golden_gradients.make_gradients,
         "network_gradients": golden_network_gradients.make_network_gradients,
         "optimisers": golden_optimisers.make_optimisers, "lr_schedules": golden_lr_schedules.make_lr_schedules,
         "trajectories": golden_trajectories.make_trajectories, "measures": golden_measures.make_measures,
         "types": golden_types.make_types, "clones": golden_clones.make_clones, "clip": golden_clip.make_clip,
         "analysis": golden_analysis.make_analysis, "lora": golden_lora.make_lora, "lora_patterns": golden_lora.make_patterns,
         "lora_training": golden_lora_training.make_lora_training,
         "weighted": golden_weighted.make_weighted, "embeddings": golden_embeddings.make_embeddings,
         "int8": golden_int8.make_int8, "redraw": golden_redraw.make_redraw, "masks": golden_masks.make_masks,
         "guided": golden_guided.make_guided, "deep_cache": golden_deep_cache.make_deep_cache,
         "token_merging": golden_token_merging.make_token_merging,
         "tiny": golden_tiny.make_tiny, "tiny_training": golden_tiny_training.make_tiny_training,
         "daam": golden_daam.make_daam}


def main():
    """Make all parts, or those named with --only, in the order of PARTS."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", action="append", choices=PARTS, help="make this part alone (may be repeated)")
    parser.add_argument("--out", default=os.path.dirname(os.path.abspath(__file__)), help="folder to write to")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    for name, make in PARTS.items():
        if options.only is None or name in options.only:
            print(f"-- {name}")
            make(options.out)


if __name__ == "__main__":
    main()
