"""The structs and constants of libimago, for ctypes. Written by python/declare.py out of the headers: change those."""
# fmt: off

from ctypes import (CFUNCTYPE, POINTER, Structure, c_bool, c_char, c_char_p, c_double, c_float, c_int, c_int32, c_int64,
                    c_size_t, c_uint64, c_uint8, c_void_p)

VERSION = "0.1.0"

IM_MAX_DIMS = 5
IM_MAX_IN = 6
IM_F32 = 0
IM_F16 = 1
IM_BF16 = 2
IM_I32 = 3
IM_INT8 = 4
IM_ACT_NONE = 0
IM_ACT_SILU = 1
IM_ACT_GELU = 2
IM_ACT_GELU_TANH = 3
IM_ACT_QUICK_GELU = 4
IM_ACT_RELU = 5
IM_ACT_TANH = 6
IM_SGD = 0
IM_ADAMW = 1
IM_LARS = 2
IM_RNG_CPU = 0
IM_RNG_CUDA = 1
IM_PNG = 0
IM_JPEG = 1
IM_ORIGIN_UNSAID = 0
IM_ORIGIN_MODEL = 1
IM_ORIGIN_COMPOSITE = 2
IM_PROMPT_PLAIN = 0
IM_PROMPT_A1111 = 1
IM_MASK_ORIGINAL = 0
IM_MASK_FILL = 1
IM_MASK_NOISE = 2
IM_MASK_NOTHING = 3
IM_SD_RUNNING = 0
IM_SD_FINISHED = 1
IM_SD_CANCELLED = 2
IM_SD_FAILED = 3
IM_NET_CLIP = 0
IM_NET_UNET = 1
IM_NET_VAE_DECODER = 2
IM_NET_VAE_ENCODER = 3
IM_NET_COUNT = 4


class im_tensor(Structure):
    pass


class im_counts(Structure):
    pass


class im_combination(Structure):
    pass


class im_weight_layout(Structure):
    pass


class im_conv_attrs(Structure):
    pass


class im_batchnorm_attrs(Structure):
    pass


class im_check_row(Structure):
    pass


class im_plan_info(Structure):
    pass


class im_tape_row(Structure):
    pass


class im_trained(Structure):
    pass


class im_optimise_step(Structure):
    pass


class im_step_part(Structure):
    pass


class im_norm_parts(Structure):
    pass


class im_profile_row(Structure):
    pass


class im_st_entry(Structure):
    pass


class im_image(Structure):
    pass


class im_text(Structure):
    pass


class im_picture_how(Structure):
    pass


class im_sd_args(Structure):
    pass


class im_net_info(Structure):
    pass


class im_net_param(Structure):
    pass


class im_request(Structure):
    pass


class im_prompt(Structure):
    pass


class im_prompt_list(Structure):
    pass


class im_calibration(Structure):
    pass


class im_synth_args(Structure):
    pass


class im_synth_place(Structure):
    pass


class im_synth_progress(Structure):
    pass


class im_synth_hooks(Structure):
    pass


class im_train_common(Structure):
    pass


class im_train_resnet_args(Structure):
    pass


class im_train_progress(Structure):
    pass


class im_train_hooks(Structure):
    pass


class im_train_autoencoder_args(Structure):
    pass


class im_train_decoder_args(Structure):
    pass


class im_train_diffusion_args(Structure):
    pass


class im_once_args(Structure):
    pass


class im_once_layer(Structure):
    pass


class im_once(Structure):
    pass


class im_guess(Structure):
    pass


class im_eval_args(Structure):
    pass


class im_eval_result(Structure):
    pass


class im_measure_args(Structure):
    pass


class im_analyze_args(Structure):
    pass


class im_analysis(Structure):
    pass


class im_transfer_args(Structure):
    pass


class im_transfer_score(Structure):
    pass


class im_transfer_result(Structure):
    pass


class im_compare_args(Structure):
    pass


class im_comparison(Structure):
    pass


im_tensor._fields_ = [("storage", c_void_p), ("offset", c_int64), ("shape", c_int64 * 5), ("stride", c_int64 * 5),
    ("ndim", c_uint8), ("dtype", c_uint8), ("wants_grad", c_uint8), ("grad_set", c_uint8), ("on_tape", c_uint8),
    ("packed", c_uint8), ("geglu", c_uint8), ("widened", c_uint8), ("name", c_char_p), ("base", POINTER(im_tensor)),
    ("grad", POINTER(im_tensor))]
im_counts._fields_ = [("uploads", c_int64), ("downloads", c_int64), ("syncs", c_int64), ("blocks", c_int64),
    ("plans", c_int64), ("copies", c_int64), ("uploaded", c_uint64), ("downloaded", c_uint64)]
im_combination._fields_ = [("count", c_int), ("x", POINTER(im_tensor) * 6), ("w", c_float * 6), ("by", c_float),
    ("limit", c_float), ("unless", POINTER(im_tensor))]
im_weight_layout._fields_ = [("dtype", c_int), ("packed", c_bool), ("geglu", c_bool), ("widened", c_bool)]
im_conv_attrs._fields_ = [("stride", c_int), ("pad_top", c_int), ("pad_left", c_int), ("pad_bottom", c_int),
    ("pad_right", c_int), ("up_h", c_int), ("up_w", c_int)]
im_batchnorm_attrs._fields_ = [("eps", c_float), ("momentum", c_float), ("training", c_bool), ("relu", c_bool)]
im_check_row._fields_ = [("kernel", c_char_p), ("form", c_char_p), ("path", c_char_p), ("error", c_double),
    ("limit", c_double), ("agrees", c_bool)]
im_plan_info._fields_ = [("nodes", c_int), ("arena_bytes", c_size_t), ("sum_bytes", c_size_t), ("flop", c_double),
    ("bytes", c_double)]
im_tape_row._fields_ = [("index", c_int), ("op", c_char_p), ("layer", c_char_p), ("out", POINTER(im_tensor)),
    ("kept_bytes", c_size_t), ("forward_seconds", c_double), ("backward_seconds", c_double)]
im_trained._fields_ = [("w", POINTER(im_tensor)), ("m", POINTER(im_tensor)), ("v", POINTER(im_tensor)),
    ("ema", POINTER(im_tensor)), ("decay", c_double), ("adapt", c_bool)]
im_optimise_step._fields_ = [("kind", c_int), ("params", POINTER(im_trained)), ("count", c_int), ("scale", c_double),
    ("lr", c_double), ("momentum", c_double), ("nesterov", c_bool), ("beta1", c_double), ("beta2", c_double),
    ("eps", c_double), ("step", c_int64), ("trust", c_double), ("ema_decay", c_double), ("ledger", c_void_p)]
im_step_part._fields_ = [("sumsq", c_double), ("loss", c_float), ("first_bad", c_int32), ("right", c_int64)]
im_norm_parts._fields_ = [("parts", c_int),
    ("share", CFUNCTYPE(POINTER(c_double), c_void_p, POINTER(c_double), c_int64)),
    ("moves", CFUNCTYPE(c_bool, c_void_p)), ("arg", c_void_p)]
im_profile_row._fields_ = [("op", c_char_p), ("layer", c_char_p), ("out", POINTER(im_tensor)), ("seconds", c_double),
    ("flop", c_double), ("bytes", c_double)]
im_st_entry._fields_ = [("name", c_char_p), ("dtype_name", c_char * 8), ("dtype", c_int), ("ndim", c_int),
    ("shape", c_int64 * 8), ("data", c_void_p), ("bytes", c_size_t)]
im_image._fields_ = [("width", c_int), ("height", c_int), ("channels", c_int), ("pixels", POINTER(c_uint8))]
im_text._fields_ = [("key", c_char_p), ("value", c_char_p)]
im_picture_how._fields_ = [("format", c_int), ("quality", c_int), ("texts", POINTER(im_text)), ("n_texts", c_int),
    ("mark", c_int)]
im_sd_args._fields_ = [("prompt", c_char_p), ("negative", c_char_p), ("syntax", c_int), ("clip_skip", c_int),
    ("steps", c_int), ("guidance", c_float), ("deep_cache", c_int), ("token_merging", c_float), ("seed", c_uint64),
    ("scheduler", c_char_p), ("eta", c_float), ("width", c_int), ("height", c_int), ("rng", c_int),
    ("init", POINTER(im_image)), ("strength", c_float), ("mask", POINTER(im_image)), ("mask_blur", c_float),
    ("mask_fill", c_int), ("mask_only", c_bool), ("mask_padding", c_int), ("latents", POINTER(c_float)),
    ("latents_out", POINTER(c_float)), ("eager", c_bool), ("tile", c_bool), ("name", c_char_p)]
im_net_info._fields_ = [("name", c_char_p), ("parameters", c_int64), ("tensors", c_int64), ("bytes", c_int64),
    ("flop", c_double), ("ops", c_int), ("arena_bytes", c_size_t)]
im_net_param._fields_ = [("name", c_char_p), ("ndim", c_int), ("shape", c_int64 * 8), ("count", c_int64)]
im_request._fields_ = [("args", im_sd_args), ("model_name", c_char_p), ("init_sha256", c_char_p),
    ("latents_sha256", c_char_p), ("latents_index", c_int), ("mask_sha256", c_char_p), ("quality", c_int),
    ("no_mark", c_bool), ("prompt_template", c_char_p), ("negative_template", c_char_p)]
im_prompt._fields_ = [("prompt", c_void_p), ("negative", c_void_p), ("seed", c_uint64), ("number", c_int),
    ("steps", c_int), ("width", c_int), ("height", c_int), ("has_guidance", c_bool), ("guidance", c_float),
    ("scheduler", c_char_p)]
im_prompt_list._fields_ = [("v", POINTER(im_prompt)), ("n", c_int), ("room", c_int)]
im_calibration._fields_ = [("prompts", POINTER(im_prompt_list)), ("steps", c_int),
    ("progress", CFUNCTYPE(c_bool, c_void_p, c_int, c_int)), ("progress_arg", c_void_p), ("products", c_int),
    ("multiplied", c_int), ("error", c_double)]
im_synth_args._fields_ = [("classes", c_char_p), ("lemmas", c_char_p), ("recipe", c_char_p), ("guidance", c_char_p),
    ("per_class", c_int64), ("seed", c_uint64), ("format", c_char_p), ("layout", c_char_p), ("shard_size", c_int),
    ("quality", c_int), ("no_mark", c_bool), ("model", c_char_p), ("dtype", c_int), ("out", c_char_p),
    ("part", c_int64), ("parts", c_int64), ("steps", c_int), ("batch", c_int), ("size", c_int), ("save_size", c_int),
    ("scheduler", c_char_p), ("eta", c_float), ("init_data", c_char_p), ("strength", c_float),
    ("loras", POINTER(c_char_p)), ("n_loras", c_int), ("lora_dir", c_char_p), ("dedup", c_int), ("filter", c_char_p),
    ("keep", c_double)]
im_synth_place._fields_ = [("class_name", c_char_p), ("set", c_char_p), ("file", c_char * 320)]
im_synth_progress._fields_ = [("done", c_int64), ("wanted", c_int64), ("there", c_int64), ("batch", c_int),
    ("evaluation", c_int), ("evaluations", c_int), ("img_per_s", c_double), ("seconds_left", c_double),
    ("last", c_bool)]
im_synth_hooks._fields_ = [("arg", c_void_p), ("drawn", CFUNCTYPE(None, c_void_p, POINTER(im_synth_progress))),
    ("note", CFUNCTYPE(None, c_void_p, c_char_p)),
    ("scores", CFUNCTYPE(c_bool, c_void_p, c_void_p, c_void_p, POINTER(c_double)))]
im_train_common._fields_ = [("data", c_char_p), ("out", c_char_p), ("init", c_char_p), ("epochs", c_int),
    ("steps", c_int), ("batch", c_int), ("accumulate", c_int), ("lr", c_float), ("warmup", c_float),
    ("schedule", c_char_p), ("optimizer", c_char_p), ("momentum", c_float), ("decay", c_float), ("nesterov", c_bool),
    ("clip", c_float), ("ema", c_float), ("seed", c_uint64), ("dtype", c_char_p), ("order", c_char_p),
    ("cache", c_char_p), ("workers", c_int), ("keep", c_int), ("checkpoint_every", c_int), ("recompute", c_bool),
    ("strict", c_bool), ("resume", c_bool)]
im_train_resnet_args._fields_ = [("common", im_train_common), ("arch", c_char_p), ("classes", c_char_p),
    ("val", c_char_p), ("mix", c_char_p), ("budget", c_int), ("augment", c_char_p), ("mixup", c_float), ("size", c_int),
    ("locals", c_int), ("local_size", c_int), ("head", c_char_p), ("head_layers", c_int), ("width", c_int),
    ("small_stem", c_bool), ("new_head", c_bool), ("sync_batchnorm", c_bool)]
im_train_progress._fields_ = [("step", c_int64), ("steps", c_int64), ("epoch", c_int64), ("epochs", c_int64),
    ("loss", c_double), ("lr", c_double), ("grad_norm", c_double), ("img_per_s", c_double), ("top1", c_double),
    ("seconds_left", c_double)]
im_train_hooks._fields_ = [("arg", c_void_p), ("step", CFUNCTYPE(None, c_void_p, POINTER(im_train_progress))),
    ("stop", CFUNCTYPE(c_bool, c_void_p)), ("note", CFUNCTYPE(None, c_void_p, c_char_p)),
    ("saved", CFUNCTYPE(None, c_void_p, c_char_p)), ("tape", CFUNCTYPE(None, c_void_p, POINTER(im_tape_row)))]
im_train_autoencoder_args._fields_ = [("common", im_train_common), ("config", c_char_p), ("val", c_char_p),
    ("size", c_int), ("flip", c_float), ("shift", c_int), ("gradient_weight", c_float), ("kl_weight", c_float),
    ("train", c_char_p)]
im_train_decoder_args._fields_ = [("common", im_train_common), ("vae", c_char_p), ("val", c_char_p), ("size", c_int),
    ("flip", c_float), ("shift", c_int), ("width", c_int), ("blocks", c_int), ("target", c_char_p)]
im_train_diffusion_args._fields_ = [("common", im_train_common), ("config", c_char_p), ("vae", c_char_p),
    ("text", c_char_p), ("cache_latents", c_bool), ("views", c_int), ("size", c_int), ("flip", c_float),
    ("shift", c_int), ("drop", c_float), ("drop_tags", c_float), ("drop_first", c_float), ("balance", c_float),
    ("favour", c_char_p), ("favour_share", c_float), ("lora", c_int), ("lora_text", c_bool), ("lora_alpha", c_float),
    ("lora_from", c_char_p), ("snr_gamma", c_float), ("snr_power", c_float)]
im_once_args._fields_ = [("prompt", c_char_p), ("latents", POINTER(c_float)), ("w", c_int), ("h", c_int),
    ("time", c_int), ("seed", c_uint64), ("lr", c_double), ("tensor", c_char_p), ("h_step", c_double)]
im_once_layer._fields_ = [("name", c_void_p), ("count", c_int64), ("norm", c_double)]
im_once._fields_ = [("abar", c_double), ("loss", c_double), ("loss_after", c_double), ("norm", c_double),
    ("forward_seconds", c_double), ("backward_seconds", c_double), ("step_seconds", c_double), ("n", c_int),
    ("layers", POINTER(im_once_layer)), ("ndim", c_int), ("shape", c_int64 * 5), ("at", c_int64 * 5),
    ("before", c_double), ("after", c_double), ("gradient", c_double), ("loss_up", c_double), ("loss_down", c_double),
    ("difference", c_double)]
im_guess._fields_ = [("label", c_int), ("name", c_char_p), ("probability", c_double)]
im_eval_args._fields_ = [("model", c_char_p), ("data", c_char_p), ("classes", c_char_p), ("set", c_char_p),
    ("val", c_char_p), ("save_features", c_char_p), ("zero_shot", c_char_p), ("form", c_char_p), ("batch", c_int),
    ("size", c_int), ("strict", c_bool)]
im_eval_result._fields_ = [("pictures", c_int64), ("broken", c_int64), ("left_out", c_int64), ("classes", c_int),
    ("names", POINTER(c_char_p)), ("in_common", c_int), ("top1", c_double), ("top5", c_double), ("loss", c_double),
    ("aupr", c_double), ("confusion", POINTER(c_int64)), ("top5_hits", POINTER(c_int64)), ("weights", c_void_p),
    ("size", c_int)]
im_measure_args._fields_ = [("model", c_char_p), ("classes", c_char_p), ("batch", c_int), ("size", c_int),
    ("strict", c_bool), ("progress", CFUNCTYPE(None, c_void_p, c_int64, c_int64)), ("arg", c_void_p)]
im_analyze_args._fields_ = [("measure", im_measure_args), ("data", c_char_p), ("set", c_char_p),
    ("save_features", c_char_p), ("threshold", c_float), ("eps2", c_float)]
im_analysis._fields_ = [("pictures", c_int64), ("left_out", c_int64), ("width", c_int), ("size", c_int),
    ("sparsity", c_double), ("intra_class_distance", c_double), ("feature_redundancy", c_double), ("flat", c_int),
    ("coding_length", c_double), ("top1", c_double), ("classes", c_int), ("names", POINTER(c_char_p)),
    ("count", POINTER(c_int64)), ("class_distance", POINTER(c_double)), ("class_top1", POINTER(c_double)),
    ("weights", c_void_p)]
im_transfer_args._fields_ = [("measure", im_measure_args), ("train", c_char_p), ("test", c_char_p),
    ("protocol", c_char_p), ("save_features", c_char_p), ("trials", c_int), ("cost", c_float), ("lr", c_float),
    ("decay", c_float), ("epochs", c_int), ("shots", POINTER(c_int)), ("n_shots", c_int), ("seeds", c_int),
    ("seed", c_uint64)]
im_transfer_score._fields_ = [("shots", c_int), ("seed", c_int), ("top1", c_double), ("mean_per_class", c_double),
    ("log_odds", c_double), ("val_top1", c_double), ("cost", c_double), ("lr", c_double), ("decay", c_double),
    ("iterations", c_int), ("converged", c_bool)]
im_transfer_result._fields_ = [("train", c_int64), ("test", c_int64), ("validation", c_int64), ("classes", c_int),
    ("width", c_int), ("size", c_int), ("n", c_int), ("scores", POINTER(im_transfer_score)), ("weights", c_void_p)]
im_compare_args._fields_ = [("measure", im_measure_args), ("recognizer", c_char_p), ("sets", c_char_p * 2),
    ("save_features", c_char_p), ("clip", c_char_p), ("k", c_int)]
im_comparison._fields_ = [("pictures", c_int64 * 2), ("width", c_int), ("size", c_int), ("frechet", c_double),
    ("precision", c_double), ("recall", c_double), ("density", c_double), ("coverage", c_double),
    ("vendi", c_double * 2), ("recognizability", c_double * 2), ("cmmd", c_double), ("weights", c_void_p),
    ("recognizer", c_void_p)]

STRUCTS: list[type[Structure]] = [im_tensor, im_counts, im_combination, im_weight_layout, im_conv_attrs,
    im_batchnorm_attrs, im_check_row, im_plan_info, im_tape_row, im_trained, im_optimise_step, im_step_part,
    im_norm_parts, im_profile_row, im_st_entry, im_image, im_text, im_picture_how, im_sd_args, im_net_info,
    im_net_param, im_request, im_prompt, im_prompt_list, im_calibration, im_synth_args, im_synth_place,
    im_synth_progress, im_synth_hooks, im_train_common, im_train_resnet_args, im_train_progress, im_train_hooks,
    im_train_autoencoder_args, im_train_decoder_args, im_train_diffusion_args, im_once_args, im_once_layer, im_once,
    im_guess, im_eval_args, im_eval_result, im_measure_args, im_analyze_args, im_analysis, im_transfer_args,
    im_transfer_score, im_transfer_result, im_compare_args, im_comparison]
